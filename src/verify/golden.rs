//! A file of reference tensors and the notes beside it, with a record of what was compared.
//! Knows nothing of models.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use safetensors::tensor::Dtype;

use crate::model::nn::weights::TensorFile;
use crate::verify::{FileReport, TensorReport};

/// Reference tensors of one case.
pub struct Golden {
    file: TensorFile,
    path: PathBuf,
    notes: serde_json::Value,
    compared: BTreeSet<String>,
    tensors: Vec<TensorReport>,
    /// What every tolerance is multiplied by: 1 for f32.
    pub looseness: f64,
}

impl Golden {
    /// Opens `path` and, where it exists, the JSON of the same name.
    pub fn open(path: &Path) -> Result<Self> {
        let file = TensorFile::open(path)?;
        let beside = path.with_extension("json");
        let notes = if beside.is_file() {
            let text = std::fs::read_to_string(&beside)
                .with_context(|| format!("cannot read the notes of the golden file ({})", beside.display()))?;
            serde_json::from_str(&text).with_context(|| format!("not JSON ({})", beside.display()))?
        } else {
            serde_json::Value::Null
        };
        Ok(Self { file, path: path.to_owned(), notes, compared: BTreeSet::new(), tensors: Vec::new(), looseness: 1.0 })
    }

    /// The JSON beside the file; `Null` without one.
    pub fn notes(&self) -> &serde_json::Value {
        &self.notes
    }

    /// Whether there is such a tensor.
    pub fn has(&self, name: &str) -> bool {
        self.file.info(name).is_some()
    }

    /// Names of all tensors.
    pub fn names(&self) -> Vec<String> {
        self.file.tensors().into_keys().collect()
    }

    /// How many tensors a series `{prefix}0{suffix}`, `{prefix}1{suffix}`, … has if none is missing: one more than the
    /// largest number in it.
    pub fn series(&self, prefix: &str, suffix: &str) -> usize {
        let number = |name: &str| name.strip_prefix(prefix)?.strip_suffix(suffix)?.parse::<usize>().ok();
        let most = self.file.tensors().keys().filter_map(|name| number(name)).max();
        // A number far beyond any series is no part of one; it shows up as not compared.
        most.filter(|n| *n < 1 << 16).map_or(0, |n| n + 1)
    }

    /// Shape of a tensor.
    pub fn shape(&self, name: &str) -> Result<Vec<usize>> {
        Ok(self.file.info(name).with_context(|| format!("no tensor {name}"))?.shape.clone())
    }

    /// Numbers of a tensor of any type.
    pub fn numbers(&self, name: &str) -> Result<Vec<f64>> {
        let info = self.file.info(name).with_context(|| format!("no tensor {name}"))?;
        let bytes = self.file.bytes(info)?;
        Ok(match info.dtype {
            Dtype::F64 => bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
            Dtype::F32 => bytes.as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect(),
            Dtype::I64 => bytes.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b) as f64).collect(),
            Dtype::I32 => bytes.as_chunks().0.iter().map(|b| f64::from(i32::from_le_bytes(*b))).collect(),
            Dtype::U8 => bytes.iter().map(|b| f64::from(*b)).collect(),
            Dtype::BF16 => bytes.as_chunks().0.iter().map(|b| half::bf16::from_le_bytes(*b).to_f64()).collect(),
            Dtype::F16 => bytes.as_chunks().0.iter().map(|b| half::f16::from_le_bytes(*b).to_f64()).collect(),
            other => bail!("tensor {name} has type {other:?}, which no golden uses"),
        })
    }

    /// Numbers of a tensor as f32.
    pub fn floats(&self, name: &str) -> Result<Vec<f32>> {
        Ok(self.numbers(name)?.into_iter().map(|x| x as f32).collect())
    }

    /// Whole non-negative numbers of a tensor.
    pub fn whole(&self, name: &str) -> Result<Vec<usize>> {
        self.numbers(name)?
            .into_iter()
            .map(|x| {
                ensure!(x >= 0.0 && x.fract() == 0.0 && x < 1e9, "{name} holds {x}, which is no count or id");
                Ok(x as usize)
            })
            .collect()
    }

    /// Compares numbers of ours with the tensor `name`, which must be there and have this shape.
    pub fn compare(&mut self, name: &str, shape: &[usize], ours: &[f64], tolerance: f64) -> Result<()> {
        if !self.has(name) {
            self.missing(name);
            return Ok(());
        }
        let theirs = self.shape(name)?;
        if theirs == shape {
            let theirs = self.numbers(name)?;
            self.record(name, difference(ours, &theirs), tolerance);
        } else {
            self.problem(name, tolerance, format!("has shape {theirs:?}, not {shape:?}"));
        }
        Ok(())
    }

    /// Compares f32 numbers of ours with the tensor `name`, which must be there and have this shape.
    pub fn compare_floats(&mut self, name: &str, shape: &[usize], ours: &[f32], tolerance: f64) -> Result<()> {
        let ours: Vec<f64> = ours.iter().map(|x| f64::from(*x)).collect();
        self.compare(name, shape, &ours, tolerance)
    }

    /// Records a difference that was found elsewhere.
    pub fn record(&mut self, name: &str, max_error: f64, tolerance: f64) {
        self.compared.insert(name.to_owned());
        // What is exact stays exact.
        let tolerance = tolerance * self.looseness;
        let (name, passed) = (name.to_owned(), max_error <= tolerance);
        self.tensors.push(TensorReport { name, max_error, tolerance, passed, problem: None });
    }

    /// Records that the file lacks a tensor that belongs in it.
    pub fn missing(&mut self, name: &str) {
        self.problem(name, 0.0, "is missing from the file".to_owned());
    }

    /// Records why a tensor could not be compared at all, which is a failure.
    pub fn problem(&mut self, name: &str, tolerance: f64, problem: String) {
        self.compared.insert(name.to_owned());
        let (name, problem) = (name.to_owned(), Some(problem));
        self.tensors.push(TensorReport { name, max_error: f64::INFINITY, tolerance, passed: false, problem });
    }

    /// `5e-4 · max(1, std)` of a tensor: the tolerance of intermediate results.
    pub fn scaled_tolerance(&self, name: &str) -> Result<f64> {
        let x = self.numbers(name)?;
        let n = x.len().max(1) as f64;
        let mean = x.iter().sum::<f64>() / n;
        let std = (x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
        // A tensor with a wild number in it must not excuse itself by its own spread.
        Ok(5e-4 * if std.is_finite() { std.clamp(1.0, 1e3) } else { 1.0 })
    }

    /// The report of everything compared.
    pub fn report(self) -> FileReport {
        let mut not_compared: Vec<String> = self
            .file
            .tensors()
            .into_keys()
            .filter(|n| !self.compared.contains(n) && !n.starts_with("gen_delta."))
            .collect();
        not_compared.sort();
        FileReport { file: self.path, tensors: self.tensors, not_compared }
    }
}

/// Largest absolute difference; infinite where lengths differ or a number is not finite.
pub fn difference(ours: &[f64], theirs: &[f64]) -> f64 {
    if ours.len() != theirs.len() {
        return f64::INFINITY;
    }
    ours.iter().zip(theirs).fold(0.0, |worst, (a, b)| {
        let d = (a - b).abs();
        if d.is_finite() { worst.max(d) } else { f64::INFINITY }
    })
}
