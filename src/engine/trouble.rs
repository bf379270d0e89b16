//! What a device's complaint means and what to do about it. Drivers say it in their own words; the words are matched here,
//! and nowhere else. Knows nothing of requests.

use anyhow::{Error, anyhow};

use crate::download::bytes_text;
use crate::engine::fit::{self, HoldChoice};
use crate::engine::session::Session;
use crate::settings::Dtype;

/// What stopped a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The device has no memory left: with its caches freed it goes on.
    OutOfMemory,
    /// The device is gone or can no longer be used by this process: the model on it is lost.
    DeviceLost,
    /// The request was refused: it would not fit beside the model.
    NoRoom,
    /// Anything else.
    Other,
}

/// What a failed run comes to.
#[derive(Debug)]
pub struct Aftermath {
    /// What stopped it.
    pub trouble: Trouble,
    /// What happened and what to do, in words.
    pub error: Error,
    /// The form that would leave more room, where room is what lacked.
    pub smaller: Option<Dtype>,
}

/// How drivers say that memory ran out.
const MEMORY: [&str; 4] =
    ["CUDA_ERROR_OUT_OF_MEMORY", "CUBLAS_STATUS_ALLOC_FAILED", "out of memory", "Insufficient Memory"];

/// How drivers say that the device, or this process's hold on it, is gone. After any of these every call fails.
const LOST: [&str; 18] = [
    "CUDA_ERROR_NO_DEVICE",
    "CUDA_ERROR_DEVICE_UNAVAILABLE",
    "CUDA_ERROR_DEINITIALIZED",
    "CUDA_ERROR_ILLEGAL_ADDRESS",
    "CUDA_ERROR_LAUNCH_FAILED",
    "CUDA_ERROR_LAUNCH_TIMEOUT",
    "CUDA_ERROR_ASSERT",
    "CUDA_ERROR_ILLEGAL_INSTRUCTION",
    "CUDA_ERROR_MISALIGNED_ADDRESS",
    "CUDA_ERROR_INVALID_ADDRESS_SPACE",
    "CUDA_ERROR_INVALID_PC",
    "CUDA_ERROR_NVLINK_UNCORRECTABLE",
    "CUDA_ERROR_ECC_UNCORRECTABLE",
    "CUDA_ERROR_HARDWARE_STACK_ERROR",
    "CUDA_ERROR_CONTEXT_IS_DESTROYED",
    "CUDA_ERROR_SYSTEM_NOT_READY",
    "Device Removed",
    "Access Revoked",
];

/// Tells troubles apart.
pub fn of(error: &Error) -> Trouble {
    // Only what the tensor library says: a file may have any name.
    let says = |words: &[&str]| {
        let causes =
            error.chain().filter(|cause| cause.is::<candle_core::Error>() || cause.is::<crate::model::ModelError>());
        causes.map(ToString::to_string).any(|said| words.iter().any(|word| said.contains(word)))
    };
    if error.is::<fit::NoRoom>() {
        Trouble::NoRoom
    } else if says(&MEMORY) {
        Trouble::OutOfMemory
    } else if says(&LOST) {
        Trouble::DeviceLost
    } else {
        Trouble::Other
    }
}

/// Cleans up after a failed run and puts what happened into words that say the way out.
pub fn after(error: Error, session: &mut Session) -> Aftermath {
    let trouble = of(&error);
    let name = &session.info().device;
    let smaller = match trouble {
        Trouble::OutOfMemory | Trouble::NoRoom => smaller_form(session),
        Trouble::DeviceLost | Trouble::Other => None,
    };
    let or_smaller = smaller.map_or_else(String::new, |form| {
        format!("; or hold the model as {} ({}; --dtype {0})", form.hold.name(), bytes_text(form.weights))
    });
    let error = match trouble {
        Trouble::OutOfMemory => anyhow!(
            "{name} ran out of memory; what it kept for reuse is freed and the model is still loaded. Ask about a shorter \
             clip, fewer frames (--fps) or smaller ones (--max-pixels){or_smaller}: {error:#}"
        ),
        Trouble::NoRoom => anyhow!("{error:#}{or_smaller}"),
        Trouble::DeviceLost => anyhow!(
            "{name} can no longer be used, and the model on it is gone. Load it again; if that fails, start the program again \
             or use --device cpu: {error:#}"
        ),
        Trouble::Other => error,
    };
    match trouble {
        Trouble::OutOfMemory => session.release(),
        // Refused before anything ran: what is kept is as good as before.
        Trouble::NoRoom => {}
        Trouble::DeviceLost | Trouble::Other => session.forget(),
    }
    Aftermath { trouble, error, smaller: smaller.map(|form| HoldChoice::Fixed(form.hold).into()) }
}

/// The next smaller form than the one that is loaded.
fn smaller_form(session: &Session) -> Option<fit::Fit> {
    let forms = fit::forms(session.thinker().config(), session.thinker().device()).ok()?;
    forms.into_iter().find(|form| form.weights < session.need().weights)
}

#[cfg(test)]
mod tests {
    use candle_core::Error as TensorError;

    use super::*;
    use crate::engine::LoadOptions;
    use crate::model::ModelError;

    #[test]
    fn a_model_that_leaves_no_room_has_a_smaller_form() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tiny/ckpt");
        let mut session = Session::open(&LoadOptions::new(folder)).unwrap();
        let refused = fit::NoRoom { tokens: 9, wanted: "9 GB".into(), free: "1 GB".into() };
        let of_room = after(refused.into(), &mut session);
        assert_eq!(of_room.smaller, Some(Dtype::F16));
        assert!(of_room.error.to_string().contains("--dtype f16"), "{}", of_room.error);
        assert_eq!(after(anyhow!("anything"), &mut session).smaller, None);
    }

    #[test]
    fn drivers_words_are_told_apart() {
        let error = |said: &str| Error::from(ModelError::Tensor(TensorError::Msg(said.to_owned())));
        let memory = "DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")";
        assert_eq!(of(&error(memory)), Trouble::OutOfMemory);
        assert_eq!(of(&error(memory).context("while answering")), Trouble::OutOfMemory);
        for lost in LOST {
            assert_eq!(of(&error(&format!("DriverError({lost}, \"…\")"))), Trouble::DeviceLost, "{lost}");
        }
        assert_eq!(of(&error("shape mismatch in matmul")), Trouble::Other);
        let refused = fit::NoRoom { tokens: 9, wanted: "9 GB".into(), free: "1 GB".into() };
        assert_eq!(of(&refused.into()), Trouble::NoRoom);
        // A file that is called so is no trouble of the device's.
        assert_eq!(of(&anyhow!("cannot read out of memory.mp4")), Trouble::Other);
    }
}
