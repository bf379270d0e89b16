//! Named weights: how they are held, where they come from, and what they are called. Knows nothing of any architecture.

use std::cell::RefCell;
use std::collections::BTreeMap;

use candle_core::quantized::QMatMul;
use candle_core::{DType, Device, Tensor};

mod checkpoint;
mod error;
mod file;
mod random;
mod variables;

pub use checkpoint::{Checkpoint, SHARD_INDEX, fingerprint, shards, weight_files};
pub use error::WeightError;
pub use file::TensorFile;
pub use random::Random;
pub use variables::Variables;

/// How the weights of linear layers are held in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hold {
    /// 4 bytes a weight; the reference's arithmetic.
    F32,
    /// 2 bytes a weight.
    F16,
    /// 2 bytes a weight; only where the device multiplies it natively.
    Bf16,
    /// About 1.06 bytes a weight, blocks of 32.
    Q8_0,
    /// About 0.56 bytes a weight, blocks of 256.
    Q4K,
}

impl Hold {
    /// The name used on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Q8_0 => "q8_0",
            Self::Q4K => "q4k",
        }
    }

    /// The form that a matrix of `input` columns takes: a width that Q4K cannot split still fits Q8_0, one that neither
    /// can stays f16.
    pub fn form(self, input: usize) -> Form {
        match self {
            Self::Q4K if input.is_multiple_of(256) => Form::Q4K,
            Self::Q8_0 | Self::Q4K if input.is_multiple_of(32) => Form::Q8_0,
            _ => Form::Dense(self.dense()),
        }
    }

    /// The type of what is held but not quantised: tables, and matrices of odd widths.
    pub fn dense(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::BF16,
            Self::F16 | Self::Q8_0 | Self::Q4K => DType::F16,
        }
    }

    /// The type activations are computed in on `device`.
    pub fn compute_dtype(self, device: &Device) -> DType {
        match self {
            Self::F16 if !device.is_cpu() => DType::F16,
            Self::Bf16 if !device.is_cpu() => DType::BF16,
            _ => DType::F32,
        }
    }
}

/// The form of one matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One number a weight.
    Dense(DType),
    /// Blocks of 32 weights in 34 bytes.
    Q8_0,
    /// Blocks of 256 weights in 144 bytes.
    Q4K,
}

impl Form {
    /// Bytes that `weights` numbers take.
    pub fn bytes(self, weights: u64) -> u64 {
        match self {
            Self::Dense(dtype) => weights * dtype.size_in_bytes() as u64,
            Self::Q8_0 => weights / 32 * 34,
            Self::Q4K => weights / 256 * 144,
        }
    }
}

/// How every matrix of a model is held: one way for most, other ways for those whose names start with a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// The rule.
    pub most: Hold,
    /// Its exceptions, first match first.
    pub exceptions: Vec<(String, Hold)>,
}

impl From<Hold> for Holding {
    fn from(most: Hold) -> Self {
        Self { most, exceptions: Vec::new() }
    }
}

impl Holding {
    /// How the matrix called `name` is held.
    pub fn of(&self, name: &str) -> Hold {
        self.exceptions.iter().find(|(prefix, _)| name.starts_with(prefix)).map_or(self.most, |(_, hold)| *hold)
    }
}

/// A weight matrix (or several fused along their output rows) as it is held.
#[derive(Debug, Clone)]
pub enum Matrix {
    /// `[out, in]`, f32 or f16 or bf16.
    Dense(Tensor),
    /// Quantised, with its shape `[out, in]`.
    Quantized(std::sync::Arc<QMatMul>),
    /// One variable per fused part, `[out_i, in]` each: training keeps them apart.
    Parts(Vec<Tensor>),
}

/// Somewhere weights come from.
pub trait Source {
    /// A tensor in the compute type on the device.
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, WeightError>;

    /// Matrices `[out_i, in]` fused along their rows, in the form they are held.
    fn matrix(&self, parts: &[(String, usize)], input: usize) -> Result<Matrix, WeightError>;

    /// The embedding table `[rows, width]`, held in a floating-point type.
    fn table(&self, name: &str, rows: usize, width: usize) -> Result<Tensor, WeightError> {
        self.tensor(name, &[rows, width])
    }

    /// The type activations are computed in.
    fn dtype(&self) -> DType;

    /// Where tensors are put.
    fn device(&self) -> &Device;
}

/// A place in the tree of weight names.
#[derive(Clone)]
pub struct Scope<'a> {
    source: &'a dyn Source,
    prefix: String,
}

impl<'a> Scope<'a> {
    /// The root, with the prefix that every name of the model carries (`thinker`).
    pub fn new(source: &'a dyn Source, prefix: &str) -> Self {
        Self { source, prefix: prefix.to_owned() }
    }

    /// A child.
    #[must_use]
    pub fn pp(&self, name: impl std::fmt::Display) -> Self {
        Self { source: self.source, prefix: self.name(name) }
    }

    /// The full name of a tensor here.
    pub fn name(&self, name: impl std::fmt::Display) -> String {
        if self.prefix.is_empty() { name.to_string() } else { format!("{}.{name}", self.prefix) }
    }

    /// The source behind the names.
    pub fn source(&self) -> &'a dyn Source {
        self.source
    }

    /// A vector `[n]`.
    pub fn vector(&self, name: &str, n: usize) -> Result<Tensor, WeightError> {
        self.source.tensor(&self.name(name), &[n])
    }

    /// A tensor of any shape.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, WeightError> {
        self.source.tensor(&self.name(name), shape)
    }
}

/// Asks for nothing but remembers what a model would ask for: the expected names and shapes of a checkpoint, and what
/// it would weigh.
#[derive(Default)]
pub struct Manifest {
    entries: RefCell<BTreeMap<String, Entry>>,
}

/// One tensor that a model asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    shape: Vec<usize>,
    part: Part,
}

/// What a tensor is to the model, which decides how it is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// In the type that is computed in.
    Tensor,
    /// The embedding table.
    Table,
    /// A linear layer's.
    Matrix,
}

impl Manifest {
    /// Names and shapes asked for so far.
    pub fn shapes(self) -> BTreeMap<String, Vec<usize>> {
        self.entries.into_inner().into_iter().map(|(name, entry)| (name, entry.shape)).collect()
    }

    /// Bytes that all of it takes when held so on `device`.
    pub fn bytes(&self, holding: &Holding, device: &Device) -> u64 {
        let compute = Form::Dense(holding.most.compute_dtype(device));
        let entries = self.entries.borrow();
        let bytes = entries.iter().map(|(name, Entry { shape, part })| {
            let form = match (part, shape.last()) {
                (Part::Matrix, Some(input)) => holding.of(name).form(*input),
                (Part::Table, _) => Form::Dense(holding.of(name).dense()),
                _ => compute,
            };
            form.bytes(shape.iter().product::<usize>() as u64)
        });
        bytes.sum()
    }

    fn note(&self, name: &str, shape: &[usize], part: Part) -> Result<Tensor, WeightError> {
        self.entries.borrow_mut().insert(name.to_owned(), Entry { shape: shape.to_vec(), part });
        let place = |source| WeightError::Place { name: name.to_owned(), source };
        // One number seen through zero strides: a 7B model's shapes cost no memory.
        let one = Tensor::zeros(1, DType::F32, &Device::Cpu).map_err(place)?;
        one.broadcast_as(shape).map_err(place)
    }
}

impl Source for Manifest {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, WeightError> {
        self.note(name, shape, Part::Tensor)
    }

    fn matrix(&self, parts: &[(String, usize)], input: usize) -> Result<Matrix, WeightError> {
        let parts = parts.iter().map(|(name, out)| self.note(name, &[*out, input], Part::Matrix));
        Ok(Matrix::Parts(parts.collect::<Result<_, _>>()?))
    }

    fn table(&self, name: &str, rows: usize, width: usize) -> Result<Tensor, WeightError> {
        self.note(name, &[rows, width], Part::Table)
    }

    fn dtype(&self) -> DType {
        DType::F32
    }

    fn device(&self) -> &Device {
        &Device::Cpu
    }
}
