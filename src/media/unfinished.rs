//! Removes unfinished files when the process is told to end (Ctrl-C, a closed terminal, `kill`): what is dropped on the
//! way out is removed anyway. Knows nothing of what is in the files; does nothing where there are no such signals.

use std::ffi::{CString, c_char};
use std::path::Path;
use std::ptr::null_mut;
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, Ordering};

/// Most files that are being written at once; more than that are not removed.
const MOST: usize = 32;
/// Their names, as the system wants them. A name is never freed: a signal may come while it is being read.
static NAMES: [AtomicPtr<c_char>; MOST] = [const { AtomicPtr::new(null_mut()) }; MOST];

/// A file that is removed if the process is told to end before this is dropped.
pub(crate) struct Unfinished(Option<&'static AtomicPtr<c_char>>);

impl Unfinished {
    /// Takes note of a file.
    pub(crate) fn new(path: &Path) -> Self {
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

impl Drop for Unfinished {
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
