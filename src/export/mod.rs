//! Overlay video, report and figures written to disk. Knows nothing of windows.

mod attention;

use std::path::Path;

use anyhow::{Context, Result, bail};

pub use attention::attention_file;

/// Makes sure that `dir` is a folder that can be written, creating it where it is missing.
pub fn prepare_folder(dir: &Path) -> Result<()> {
    if dir.exists() && !dir.is_dir() {
        bail!("the output is a file, not a folder ({})", dir.display());
    }
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create the output folder ({})", dir.display()))
}

/// Writes a file whole or not at all: into a temporary neighbour that takes its place when complete.
pub fn write_whole(path: &Path, write: impl FnOnce(&mut std::fs::File) -> Result<()>) -> Result<()> {
    let dir = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let failed = || format!("cannot write {}", path.display());
    let mut file = readable_by_others().tempfile_in(dir).with_context(failed)?;
    write(file.as_file_mut()).with_context(failed)?;
    file.persist(path).map_err(|e| e.error).with_context(failed)?;
    Ok(())
}

/// Temporary files are private by default; results are made like any other file, as the umask says.
fn readable_by_others() -> tempfile::Builder<'static, 'static> {
    #[allow(unused_mut, reason = "only Unix has modes to set")]
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder
}
