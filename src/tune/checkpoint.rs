//! Training state on disk: variables, moments and the step, in one file that is replaced in one move.
//! Knows nothing of models or data.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::tune::TuneError;
use crate::tune::optimizer::Optimizer;
use crate::tune::variables::Vars;

/// Where a run stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Name of the stage.
    pub stage: String,
    /// Steps made.
    pub step: usize,
    /// Everything that must be the same for the resumed run to equal the unbroken one, as text.
    pub recipe: String,
}

/// Writes variables, moments and progress to `path`, whole or not at all.
pub fn save(path: &Path, vars: &Vars, optimizer: &Optimizer, progress: &Progress) -> Result<(), TuneError> {
    let (mut tensors, updates) = optimizer.state();
    for (name, var) in vars {
        tensors.insert(format!("var.{name}"), var.as_tensor().clone());
    }
    let mut metadata = HashMap::new();
    let progress = serde_json::to_string(progress).map_err(|e| TuneError::Resume(e.to_string()))?;
    metadata.insert("progress".to_owned(), progress);
    metadata.insert("updates".to_owned(), updates.to_string());
    let write = |source: std::io::Error| TuneError::Write { path: path.to_owned(), source };
    let bytes = safetensors::serialize(&tensors, Some(metadata)).map_err(|e| TuneError::Resume(e.to_string()))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(write)?;
    std::io::Write::write_all(&mut file, &bytes).map_err(write)?;
    file.persist(path).map_err(|e| write(e.error))?;
    Ok(())
}

/// Sets `vars` and `optimizer` to what `path` holds and returns the progress; `None` when there is no such file.
pub fn restore(
    path: &Path,
    vars: &Vars,
    optimizer: &mut Optimizer,
    device: &Device,
) -> Result<Option<Progress>, TuneError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(TuneError::Read { path: path.to_owned(), source }),
    };
    let broken = |what: &str| TuneError::Resume(format!("{what} ({})", path.display()));
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).map_err(|e| broken(&e.to_string()))?;
    let metadata = header.metadata().clone().unwrap_or_default();
    let field = |name: &str| metadata.get(name).ok_or_else(|| broken("it is not a training checkpoint"));
    let progress: Progress = serde_json::from_str(field("progress")?).map_err(|e| broken(&e.to_string()))?;
    let updates = field("updates")?.parse().map_err(|_| broken("its number of updates is no number"))?;
    let mut tensors: BTreeMap<String, Tensor> =
        candle_core::safetensors::load_buffer(&bytes, &Device::Cpu)?.into_iter().collect();
    for (name, var) in vars {
        let saved = tensors
            .remove(&format!("var.{name}"))
            .filter(|t| t.dims() == var.dims())
            .ok_or_else(|| broken(&format!("it lacks {name} in the shape of this model")))?;
        var.set(&saved.to_device(device)?)?;
    }
    optimizer.restore(tensors, updates, device)?;
    Ok(Some(progress))
}
