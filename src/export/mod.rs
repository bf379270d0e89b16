//! Overlay video, report and figures written to disk. Knows nothing of windows.

mod attention;
pub mod overlay;
pub mod report;
mod saw;
pub mod snapshot;

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::event::{Answer, ModelInfo, Request};
use crate::fed::Fed;
use crate::media::Unfinished;

pub use attention::attention_file;

/// Makes sure that `dir` is a folder that can be written, creating it where it is missing.
pub fn prepare_folder(dir: &Path) -> Result<()> {
    if dir.exists() && !dir.is_dir() {
        bail!("the output is a file, not a folder ({})", dir.display());
    }
    if dir.to_str().is_none() {
        // FFmpeg takes names as text; said before there is an answer to lose.
        bail!("the output folder's name is not valid UTF-8; choose another one ({})", dir.display());
    }
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create the output folder ({})", dir.display()))
}

/// Writes everything about one answer into `dir`: `attention.safetensors`, `overlay.mp4`, `overlay.png`, `model_saw.png` and
/// `report.html`. A case of words alone has no pictures.
pub fn case_files(request: &Request, answer: &Answer, fed: &Fed, model: &ModelInfo, dir: &Path) -> Result<()> {
    attention_file(answer, &dir.join("attention.safetensors"))?;
    let (video, still) = (dir.join("overlay.mp4"), dir.join("overlay.png"));
    let written = overlay::overlay_files(&request.clip, &request.sampling, answer, &video, &still)?;
    let placed = overlay::PlacedMap::new(&answer.mean_attention(), &answer.provenance);
    let saw = saw::saw_file(fed, &placed, &dir.join("model_saw.png"))?;
    let pictures = report::Pictures { overlay: written.as_ref(), saw: saw.then_some(fed) };
    report::report_file(request, answer, model, &pictures, &dir.join("report.html"))
}

/// Writes a file whole or not at all: into a temporary neighbour that takes its place when complete.
pub fn write_whole(path: &Path, write: impl FnOnce(&mut std::fs::File) -> Result<()>) -> Result<()> {
    let failed = || format!("cannot write {}", path.display());
    let mut file = Unfinished::beside(path).with_context(failed)?;
    write(file.file_mut()).with_context(failed)?;
    file.finish().with_context(failed)
}

/// Writes `[height, width, 4]` bytes of RGBA as a PNG, whole or not at all.
pub fn write_png(path: &Path, [width, height]: [u32; 2], rgba: &[u8]) -> Result<()> {
    write_whole(path, |file| {
        let mut encoder = png::Encoder::new(std::io::BufWriter::new(file), width, height);
        encoder.set_color(png::ColorType::Rgba);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(rgba)?;
        Ok(writer.finish()?)
    })
}
