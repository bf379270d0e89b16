//! What accompanies one run of a model: how exact gradients must be, who watches, what is edited, whether
//! to stop. Knows nothing of layers.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::model::nn::edit::Edit;
use crate::model::nn::tap::Tap;
use crate::model::{ModelError, Result};

/// Which operations a run may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// The fastest kernels; no gradients.
    #[default]
    Answer,
    /// Plain differentiable operations only, for training and gradient methods.
    Eager,
}

/// One run of a model.
#[derive(Default)]
pub struct Pass<'a> {
    /// Which operations may be used.
    pub mode: Mode,
    /// Who watches.
    pub tap: Option<&'a mut dyn Tap>,
    /// Changes of the language model's attention.
    pub edits: &'a [Edit],
    /// Set by another thread to stop the run at the next layer.
    pub cancel: Option<&'a AtomicBool>,
}

impl Pass<'_> {
    /// A differentiable run that nobody watches.
    pub fn eager() -> Self {
        Self { mode: Mode::Eager, ..Self::default() }
    }

    /// Fails when the run was cancelled: one atomic read.
    pub fn check(&self) -> Result<()> {
        match self.cancel {
            Some(flag) if flag.load(Ordering::Relaxed) => Err(ModelError::Cancelled),
            _ => Ok(()),
        }
    }
}
