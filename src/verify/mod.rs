//! This build against reference tensors: every stage of preprocessing and of the model, tensor by tensor.
//! Knows the layout of golden files; nothing in the model knows of them.

mod case;
mod golden;
mod inputs;
mod preproc;
mod prompt;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
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
    /// Largest absolute difference; infinite (in JSON `null`) where there is a problem or a number is not finite.
    pub max_error: f64,
    /// What it may be.
    pub tolerance: f64,
    /// Whether it is within.
    pub passed: bool,
    /// Why it could not be compared: it is missing, or has another shape.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
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
            let state = if file.passed() { "ok" } else { "FAILED" };
            writeln!(f, "{state:6}  {}  {} tensors compared", file.file.display(), file.tensors.len())?;
            // The nearest to its tolerance tells how much room there is.
            let ratio = |t: &&TensorReport| if t.tolerance > 0.0 { t.max_error / t.tolerance } else { t.max_error };
            let shown = file.tensors.iter().filter(|t| !t.passed);
            let worst = file.tensors.iter().max_by(|a, b| ratio(a).total_cmp(&ratio(b))).filter(|_| failed == 0);
            for t in shown.chain(worst) {
                match &t.problem {
                    Some(problem) => writeln!(f, "        {:28} {problem}", t.name)?,
                    None => {
                        writeln!(
                            f,
                            "        {:28} max error {:.2e}, tolerance {:.0e}",
                            t.name, t.max_error, t.tolerance
                        )?;
                    }
                }
            }
        }
        write!(f, "{}", if self.passed { "all within tolerance" } else { "NOT within tolerance" })
    }
}

/// What tolerances are multiplied by in half precision: bf16 keeps 8 bits of a number, f32 keeps 24; attention may then
/// differ by 0.02, encoders by 0.01, logits by a tenth of their spread.
const HALF_PRECISION: f64 = 200.0;

/// A checkpoint that golden files are compared with.
pub struct Verifier {
    looseness: f64,
    config: Config,
    processor: Processor,
    thinker: Thinker,
}

impl Verifier {
    /// Loads the checkpoint in `model`, in f32 on the CPU.
    pub fn open(model: &Path) -> Result<Self> {
        Self::on(model, Hold::F32, &Device::Cpu)
    }

    /// Loads the checkpoint in `model` as `hold` on `device`. Preprocessing is always in f32 on the CPU, and held to that.
    pub fn on(model: &Path, hold: Hold, device: &Device) -> Result<Self> {
        let config = Config::load(model)?;
        let processor = Processor::load(model, &config)?;
        let thinker = Thinker::open(model, hold, device)?;
        let looseness =
            if thinker.dtype() == candle_core::DType::F32 && hold == Hold::F32 { 1.0 } else { HALF_PRECISION };
        Ok(Self { looseness, config, processor, thinker })
    }

    /// Compares with one golden file. Errors where the file is none, or where its inputs contradict each other.
    pub fn file(&self, path: &Path) -> Result<FileReport> {
        let mut golden = Golden::open(path)?;
        let report = if preproc::is_preprocessing(&golden) {
            preproc::compare(&self.processor, &self.config, golden)
        } else {
            golden.looseness = self.looseness;
            case::compare(&self.thinker, &self.processor, golden)
        };
        report.with_context(|| format!("cannot compare with {}", path.display()))
    }
}

impl FileReport {
    /// Whether anything was compared and all of it is within its tolerance.
    pub fn passed(&self) -> bool {
        !self.tensors.is_empty() && self.tensors.iter().all(|t| t.passed)
    }
}

/// Compares this build with every golden file. A folder stands for the golden files in it.
pub fn verify(verifier: &Verifier, goldens: &[PathBuf]) -> Result<Report> {
    let goldens = golden_files(goldens)?;
    let files = goldens.iter().map(|path| verifier.file(path)).collect::<Result<Vec<_>>>()?;
    let passed = files.iter().all(FileReport::passed);
    Ok(Report { files, passed })
}

/// The files themselves, and every safetensors file of a folder in order of name.
fn golden_files(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let unreadable = || format!("cannot list the golden files ({})", path.display());
        let mut inside = Vec::new();
        for entry in std::fs::read_dir(path).with_context(unreadable)? {
            inside.push(entry.with_context(unreadable)?.path());
        }
        inside.retain(|p| p.is_file() && p.extension().is_some_and(|e| e == "safetensors"));
        ensure!(!inside.is_empty(), "no .safetensors files in this folder of goldens ({})", path.display());
        // A checkpoint's weights are no golden; comparing with them would only say that everything is missing.
        ensure!(
            !path.join("config.json").is_file(),
            "this folder holds a checkpoint, not golden files; give it with --model ({})",
            path.display()
        );
        inside.sort();
        files.extend(inside);
    }
    Ok(files)
}

/// The inputs that a golden file or a benchmark's input file prepares: ids, pixels and mel frames.
pub fn inputs_of_file(path: &Path, config: &Config) -> Result<Inputs> {
    let golden = Golden::open(path)?;
    inputs::prepared_inputs(&golden, config).with_context(|| format!("cannot use the inputs of {}", path.display()))
}
