//! This build against reference tensors: every stage of preprocessing and of the model, tensor by tensor.
//! Knows the layout of golden files; nothing in the model knows of them.

mod case;
mod golden;
mod preproc;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use candle_core::Device;
use serde::Serialize;

use crate::model::nn::weights::Hold;
use crate::model::qwen2_5_omni::config::Config;
use crate::model::qwen2_5_omni::processor::{Inputs, Processor};
use crate::model::qwen2_5_omni::thinker::Thinker;
use golden::Golden;

/// How one tensor compares.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TensorReport {
    /// Name in the golden file.
    pub name: String,
    /// Largest absolute difference; infinite where shapes differ or a number is not finite.
    pub max_error: f64,
    /// What it may be.
    pub tolerance: f64,
    /// Whether it is within.
    pub passed: bool,
}

/// How one golden file compares.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FileReport {
    /// The file.
    pub file: PathBuf,
    /// Every tensor compared.
    pub tensors: Vec<TensorReport>,
    /// Tensors of the file that nothing here compares: inputs, variants, unknown names.
    pub not_compared: Vec<String>,
}

/// How this build compares with reference tensors.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// File by file.
    pub files: Vec<FileReport>,
    /// Whether every tensor is within its tolerance.
    pub passed: bool,
}

impl Report {
    /// Whether every tensor is within its tolerance.
    pub fn passed(&self) -> bool {
        self.passed
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for file in &self.files {
            let failed = file.tensors.iter().filter(|t| !t.passed).count();
            let state = if failed == 0 { "ok" } else { "FAILED" };
            writeln!(f, "{state:6}  {}  {} tensors compared", file.file.display(), file.tensors.len())?;
            // The nearest to its tolerance tells how much room there is.
            let ratio = |t: &&TensorReport| if t.tolerance > 0.0 { t.max_error / t.tolerance } else { t.max_error };
            let shown = file.tensors.iter().filter(|t| !t.passed);
            let worst = file.tensors.iter().max_by(|a, b| ratio(a).total_cmp(&ratio(b))).filter(|_| failed == 0);
            for t in shown.chain(worst) {
                writeln!(f, "        {:28} max error {:.2e}, tolerance {:.0e}", t.name, t.max_error, t.tolerance)?;
            }
        }
        write!(f, "{}", if self.passed { "all within tolerance" } else { "NOT within tolerance" })
    }
}

/// Compares this build with every golden file, in f32 on the CPU.
pub fn verify(model: &Path, goldens: &[PathBuf]) -> Result<Report> {
    let config = Config::load(model)?;
    let processor = Processor::load(model, &config)?;
    let thinker = Thinker::open(model, Hold::F32, &Device::Cpu)?;
    let mut files = Vec::with_capacity(goldens.len());
    for path in goldens {
        let golden = Golden::open(path)?;
        let report = if golden.has("input_ids") {
            case::compare(&thinker, &processor, golden)
        } else {
            preproc::compare(&processor, golden)
        };
        files.push(report.with_context(|| format!("cannot compare with {}", path.display()))?);
    }
    let passed = files.iter().all(|f| !f.tensors.is_empty() && f.tensors.iter().all(|t| t.passed));
    Ok(Report { files, passed })
}

/// The inputs that a golden file or a benchmark's input file prepares: ids, pixels and mel frames.
pub fn inputs_of_file(path: &Path, config: &Config) -> Result<Inputs> {
    let golden = Golden::open(path)?;
    case::prepared_inputs(&golden, config).with_context(|| format!("cannot use the inputs of {}", path.display()))
}
