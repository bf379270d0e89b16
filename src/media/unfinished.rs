//! Files on their way to a name: temporary neighbours that take it when they are complete, and are removed when they are
//! dropped before, or the process is told to end (Ctrl-C, a closed terminal, `kill`). Knows nothing of what is in them.

use std::ffi::{CString, c_char};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::ptr::null_mut;
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, Ordering};

/// Most files that are being written at once; more than that are not removed.
const MOST: usize = 32;
/// Their names, as the system wants them. A name is never freed: a signal may come while it is being read.
static NAMES: [AtomicPtr<c_char>; MOST] = [const { AtomicPtr::new(null_mut()) }; MOST];

/// A file that is not complete yet.
#[derive(Debug)]
pub struct Unfinished {
    // Removed before the note about it is taken back.
    file: tempfile::NamedTempFile,
    target: PathBuf,
    _note: Note,
}

impl Unfinished {
    /// A new file in the folder of `target`, whose name it is to take; of the file that it leads to where it is a link.
    ///
    /// # Errors
    /// When the folder cannot be written, and when what has the name is no file: a device is not replaced by one.
    pub fn beside(target: &Path) -> io::Result<Self> {
        let target = match target.canonicalize() {
            Ok(there) if there.is_file() => there,
            Ok(_) => {
                return Err(io::Error::other("there is something of that name that is no file; choose another name"));
            }
            Err(_) if target.is_symlink() => {
                return Err(io::Error::other("there is a link of that name that leads nowhere; choose another name"));
            }
            Err(_) => target.to_owned(),
        };
        let folder = target.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut builder = tempfile::Builder::new();
        builder.prefix(".modalens-").suffix(".part");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // The result is an ordinary file: as readable as the user's umask says.
            builder.permissions(std::fs::Permissions::from_mode(0o666));
        }
        let file = builder.tempfile_in(folder)?;
        let note = Note::new(file.path());
        Ok(Self { file, target, _note: note })
    }

    /// Where it is for now.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// To write into it.
    pub fn file_mut(&mut self) -> &mut File {
        self.file.as_file_mut()
    }

    /// Gives it the name, in the place of what has it.
    ///
    /// # Errors
    /// When the system refuses; then nothing is left of it.
    pub fn finish(self) -> io::Result<()> {
        self.file.persist(self.target).map(drop).map_err(|e| e.error)
    }
}

/// Has a file removed if the process is told to end before this is dropped; does nothing where there are no such signals.
#[derive(Debug)]
struct Note(Option<&'static AtomicPtr<c_char>>);

impl Note {
    fn new(path: &Path) -> Self {
        static INSTALLED: Once = Once::new();
        INSTALLED.call_once(install);
        let Ok(name) = CString::new(path.as_os_str().as_encoded_bytes()) else { return Self(None) };
        let name = name.into_raw();
        let slot = NAMES
            .iter()
            .find(|slot| slot.compare_exchange(null_mut(), name, Ordering::AcqRel, Ordering::Relaxed).is_ok());
        Self(slot)
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        if let Some(slot) = self.0 {
            slot.store(null_mut(), Ordering::Release);
        }
    }
}

#[cfg(not(unix))]
fn install() {}

/// Handles the signals that end a process and that nobody handles or ignores yet.
#[cfg(unix)]
fn install() {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        #[allow(unsafe_code, reason = "there is no safe binding for signal handlers")]
        // SAFETY: the structs are plain numbers that outlive the calls; the handler is a plain function for ever.
        unsafe {
            let mut old: libc::sigaction = std::mem::zeroed();
            if libc::sigaction(signal, std::ptr::null(), &raw mut old) != 0 || old.sa_sigaction != libc::SIG_DFL {
                continue;
            }
            let mut new: libc::sigaction = std::mem::zeroed();
            new.sa_sigaction = on_end as *const () as usize;
            libc::sigaction(signal, &raw const new, null_mut());
        }
    }
}

#[cfg(unix)]
#[allow(unsafe_code, reason = "a signal handler is called by the system")]
extern "C" fn on_end(signal: libc::c_int) {
    for slot in &NAMES {
        let name = slot.load(Ordering::Acquire);
        if !name.is_null() {
            // SAFETY: names end with a zero and are never freed; unlink may be called in a signal handler.
            unsafe { libc::unlink(name) };
        }
    }
    // SAFETY: both may be called in a signal handler; the process then ends as if it had none.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}
