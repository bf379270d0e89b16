//! Named weights: from safetensors files, from training variables, or only counted. Every tensor that a model
//! asks for and every tensor that a file holds is accounted for. Knows nothing of any architecture.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use candle_core::quantized::{GgmlDType, QMatMul, QTensor};
use candle_core::{DType, Device, Tensor, Var};
use half::{bf16, f16};
use rayon::prelude::*;
use safetensors::tensor::{Dtype as FileDtype, Metadata, TensorInfo};
use sha2::{Digest, Sha256};

mod error;

pub use error::WeightError;

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

    /// Bytes per weight of a large matrix.
    pub fn bytes_per_weight(self) -> f64 {
        match self {
            Self::F32 => 4.0,
            Self::F16 | Self::Bf16 => 2.0,
            Self::Q8_0 => 34.0 / 32.0,
            Self::Q4K => 144.0 / 256.0,
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

/// A checkpoint folder: safetensors, one file or several.
pub struct Checkpoint {
    dir: PathBuf,
    files: Vec<TensorFile>,
    /// Tensor name → index into `files`.
    index: BTreeMap<String, usize>,
    read: RefCell<HashSet<String>>,
    hold: Hold,
    device: Device,
}

/// One safetensors file, its header checked; tensors are read when they are asked for.
///
/// Read, not mapped: a mapped checkpoint would count twice in resident memory while it is converted, and a file cut
/// short by another program would be a signal instead of an error.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    file: File,
    data_start: u64,
    metadata: Metadata,
}

/// Longest header that is read; the format allows no more.
const MAX_HEADER: u64 = 100_000_000;

impl TensorFile {
    /// Opens a file and checks its header against its length.
    pub fn open(path: &Path) -> Result<Self, WeightError> {
        let read = |source| WeightError::Read { path: path.to_owned(), source };
        let format = |message: String| WeightError::Format { path: path.to_owned(), message };
        let file = File::open(path).map_err(read)?;
        let length = file.metadata().map_err(read)?.len();
        let mut size = [0; 8];
        if length < 8 {
            return Err(format(format!("{length} bytes hold no header")));
        }
        read_at(&file, &mut size, 0).map_err(read)?;
        let header = u64::from_le_bytes(size);
        if header > MAX_HEADER.min(length - 8) {
            return Err(format(format!("its header claims {header} bytes, the file has {length}")));
        }
        let mut json = vec![0; header as usize];
        read_at(&file, &mut json, 8).map_err(read)?;
        let metadata: Metadata = serde_json::from_slice(&json).map_err(|e| format(e.to_string()))?;
        let data: usize = metadata.tensors().values().map(|t| t.data_offsets.1).max().unwrap_or(0);
        if 8 + header + data as u64 != length {
            return Err(format(format!(
                "its header describes {} bytes, the file has {length}",
                8 + header + data as u64
            )));
        }
        Ok(Self { path: path.to_owned(), file, data_start: 8 + header, metadata })
    }

    /// The tensors of the file, by name.
    pub fn tensors(&self) -> HashMap<String, &TensorInfo> {
        self.metadata.tensors()
    }

    /// Type, shape and place of a tensor.
    pub fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.metadata.info(name)
    }

    /// All little-endian bytes of a tensor.
    pub fn bytes(&self, info: &TensorInfo) -> Result<Vec<u8>, WeightError> {
        let mut bytes = vec![0; info.data_offsets.1 - info.data_offsets.0];
        let start = self.data_start + info.data_offsets.0 as u64;
        let read = |source| WeightError::Read { path: self.path.clone(), source };
        read_at(&self.file, &mut bytes, start).map_err(read)?;
        Ok(bytes)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Fills `buffer` from `offset` on, without moving a shared cursor.
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
    }
    #[cfg(windows)]
    {
        let (mut filled, mut offset) = (0, offset);
        while filled < buffer.len() {
            match std::os::windows::fs::FileExt::seek_read(file, &mut buffer[filled..], offset)? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                n => (filled, offset) = (filled + n, offset + n as u64),
            }
        }
        Ok(())
    }
}

impl Checkpoint {
    /// Opens `model.safetensors` or the shards of `model.safetensors.index.json` in `dir`.
    pub fn open(dir: &Path, hold: Hold, device: &Device) -> Result<Self, WeightError> {
        let paths = weight_files(dir)?;
        let files = paths.iter().map(|p| TensorFile::open(p)).collect::<Result<Vec<_>, _>>()?;
        let mut index = BTreeMap::new();
        for (i, file) in files.iter().enumerate() {
            for name in file.tensors().into_keys() {
                if let Some(other) = index.insert(name.clone(), i) {
                    return Err(WeightError::Twice {
                        name,
                        first: files[other].path.clone(),
                        second: file.path.clone(),
                    });
                }
            }
        }
        Ok(Self { dir: dir.to_owned(), files, index, read: RefCell::default(), hold, device: device.clone() })
    }

    /// Fails when the files hold tensors that nobody asked for, apart from those `expected` names.
    pub fn finish(&self, expected: impl Fn(&str) -> bool) -> Result<(), WeightError> {
        let read = self.read.borrow();
        let unread: Vec<_> = self.index.keys().filter(|n| !read.contains(*n) && !expected(n)).collect();
        match unread.first() {
            None => Ok(()),
            Some(first) => {
                let path = self.files[self.index[*first]].path.clone();
                Err(WeightError::Unread { count: unread.len(), first: (*first).clone(), path })
            }
        }
    }

    fn info(&self, name: &str, shape: &[usize]) -> Result<(&TensorFile, &TensorInfo), WeightError> {
        // What is missing in shards is missing in what lists them.
        let searched = || match &self.files[..] {
            [only] => only.path.clone(),
            _ => self.dir.join(SHARD_INDEX),
        };
        let missing = || WeightError::Missing { name: name.to_owned(), path: searched() };
        let file = &self.files[*self.index.get(name).ok_or_else(missing)?];
        let info = file.info(name).ok_or_else(missing)?;
        if info.shape != shape {
            return Err(WeightError::Shape {
                name: name.to_owned(),
                found: info.shape.clone(),
                expected: shape.to_vec(),
                path: file.path.clone(),
            });
        }
        self.read.borrow_mut().insert(name.to_owned());
        Ok((file, info))
    }

    /// Reads a tensor as `dtype` on the CPU, checking every number.
    fn load(&self, name: &str, shape: &[usize], dtype: DType) -> Result<Tensor, WeightError> {
        let (file, info) = self.info(name, shape)?;
        let place = |source| WeightError::Place { name: name.to_owned(), source };
        match dtype {
            DType::F16 => {
                Tensor::from_vec(convert(file, info, name, f16::from_f32, f16::is_finite)?, shape, &Device::Cpu)
            }
            DType::BF16 => {
                Tensor::from_vec(convert(file, info, name, bf16::from_f32, bf16::is_finite)?, shape, &Device::Cpu)
            }
            _ => Tensor::from_vec(convert(file, info, name, |x| x, f32::is_finite)?, shape, &Device::Cpu),
        }
        .map_err(place)
    }

    fn held_dtype(&self) -> DType {
        match self.hold {
            Hold::F32 => DType::F32,
            Hold::Bf16 => DType::BF16,
            Hold::F16 | Hold::Q8_0 | Hold::Q4K => DType::F16,
        }
    }
}

/// Where a checkpoint in several files lists them.
const SHARD_INDEX: &str = "model.safetensors.index.json";

/// [`SHARD_INDEX`]: which shard holds which tensor.
#[derive(serde::Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

/// The weight files of a checkpoint folder, in order.
pub fn weight_files(dir: &Path) -> Result<Vec<PathBuf>, WeightError> {
    let single = dir.join("model.safetensors");
    if single.is_file() {
        return Ok(vec![single]);
    }
    let index_path = dir.join(SHARD_INDEX);
    if !index_path.is_file() {
        return Err(WeightError::NoWeights { dir: dir.to_owned() });
    }
    let text = std::fs::read_to_string(&index_path)
        .map_err(|source| WeightError::Read { path: index_path.clone(), source })?;
    let format = |message: String| WeightError::Index { path: index_path.clone(), message };
    let index: ShardIndex = serde_json::from_str(&text).map_err(|e| format(e.to_string()))?;
    let mut names: Vec<_> = index.weight_map.into_values().collect();
    names.sort();
    names.dedup();
    names
        .into_iter()
        .map(|name| {
            // A shard is a file beside its index; anything else is not followed.
            if Path::new(&name).file_name().is_some_and(|f| f == name.as_str()) {
                Ok(dir.join(name))
            } else {
                Err(format(format!("{name:?} is not the name of a file in this folder")))
            }
        })
        .collect()
}

/// The SHA-256 of a checkpoint's weight files in order, lower-case hex.
pub fn fingerprint(dir: &Path) -> Result<String, WeightError> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; READ_BYTES];
    for path in weight_files(dir)? {
        let read = |source| WeightError::Read { path: path.clone(), source };
        let mut file = File::open(&path).map_err(read)?;
        loop {
            match file.read(&mut buffer).map_err(read)? {
                0 => break,
                n => hash.update(&buffer[..n]),
            }
        }
    }
    Ok(hash.finalize().iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}")))
}

/// Bytes read at a time, by each thread.
const READ_BYTES: usize = 4 << 20;

/// Reads a tensor as `T`, piece by piece in parallel, refusing what is not `finite` (also a bf16 or f32 weight that
/// overflows f16).
fn convert<T: Copy + Default + Send>(
    file: &TensorFile,
    info: &TensorInfo,
    name: &str,
    to: impl Fn(f32) -> T + Sync,
    finite: impl Fn(T) -> bool + Sync,
) -> Result<Vec<T>, WeightError> {
    let (size, decode): (usize, fn(&[u8]) -> f32) = match info.dtype {
        FileDtype::F32 => (4, |b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
        FileDtype::BF16 => (2, |b| bf16::from_le_bytes([b[0], b[1]]).to_f32()),
        FileDtype::F16 => (2, |b| f16::from_le_bytes([b[0], b[1]]).to_f32()),
        other => {
            let dtype = format!("{other:?}");
            return Err(WeightError::Type { name: name.to_owned(), dtype, path: file.path.clone() });
        }
    };
    let count = (info.data_offsets.1 - info.data_offsets.0) / size;
    let start = file.data_start + info.data_offsets.0 as u64;
    let piece = READ_BYTES / size;
    let mut out = vec![T::default(); count];
    out.par_chunks_mut(piece).enumerate().try_for_each_init(Vec::new, |buffer, (i, out)| {
        buffer.resize(out.len() * size, 0);
        read_at(&file.file, buffer, start + (i * piece * size) as u64)
            .map_err(|source| WeightError::Read { path: file.path.clone(), source })?;
        for (k, (value, bytes)) in out.iter_mut().zip(buffer.chunks_exact(size)).enumerate() {
            *value = to(decode(bytes));
            if !finite(*value) {
                let index = i * piece + k;
                return Err(WeightError::NotFinite { name: name.to_owned(), index, path: file.path.clone() });
            }
        }
        Ok(())
    })?;
    Ok(out)
}

impl Source for Checkpoint {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, WeightError> {
        let place = |source| WeightError::Place { name: name.to_owned(), source };
        self.load(name, shape, self.dtype())?.to_device(&self.device).map_err(place)
    }

    fn matrix(&self, parts: &[(String, usize)], input: usize) -> Result<Matrix, WeightError> {
        let first = parts.first().map(|(n, _)| n.clone()).unwrap_or_default();
        let place = |source| WeightError::Place { name: first.clone(), source };
        let block = match self.hold {
            Hold::Q4K if input.is_multiple_of(256) => Some(GgmlDType::Q4K),
            // A width that Q4K cannot split still fits Q8_0; one that neither can stays f16.
            Hold::Q8_0 | Hold::Q4K if input.is_multiple_of(32) => Some(GgmlDType::Q8_0),
            _ => None,
        };
        let dtype = if block.is_some() { DType::F32 } else { self.held_dtype() };
        let loaded =
            parts.iter().map(|(name, out)| self.load(name, &[*out, input], dtype)).collect::<Result<Vec<_>, _>>()?;
        let fused = if let [one] = loaded.as_slice() { one.clone() } else { Tensor::cat(&loaded, 0).map_err(place)? };
        drop(loaded);
        if let Some(block) = block {
            let quantized = QTensor::quantize_onto(&fused, block, &self.device).map_err(place)?;
            let matmul = QMatMul::from_qtensor(quantized).map_err(place)?;
            return Ok(Matrix::Quantized(std::sync::Arc::new(matmul)));
        }
        Ok(Matrix::Dense(fused.to_device(&self.device).map_err(place)?))
    }

    fn table(&self, name: &str, rows: usize, width: usize) -> Result<Tensor, WeightError> {
        let place = |source| WeightError::Place { name: name.to_owned(), source };
        self.load(name, &[rows, width], self.held_dtype())?.to_device(&self.device).map_err(place)
    }

    fn dtype(&self) -> DType {
        self.hold.compute_dtype(&self.device)
    }

    fn device(&self) -> &Device {
        &self.device
    }
}

/// Training variables by name.
pub struct Variables {
    vars: BTreeMap<String, Var>,
    device: Device,
}

impl Variables {
    /// Variables that stand for a model's weights.
    pub fn new(vars: BTreeMap<String, Var>, device: &Device) -> Self {
        Self { vars, device: device.clone() }
    }

    /// The variables by name.
    pub fn vars(&self) -> &BTreeMap<String, Var> {
        &self.vars
    }
}

impl Source for Variables {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, WeightError> {
        let path = PathBuf::from("training variables");
        let Some(var) = self.vars.get(name) else {
            return Err(WeightError::Missing { name: name.to_owned(), path });
        };
        if var.dims() != shape {
            let found = var.dims().to_vec();
            return Err(WeightError::Shape { name: name.to_owned(), found, expected: shape.to_vec(), path });
        }
        Ok(var.as_tensor().clone())
    }

    fn matrix(&self, parts: &[(String, usize)], input: usize) -> Result<Matrix, WeightError> {
        let parts = parts.iter().map(|(name, out)| self.tensor(name, &[*out, input])).collect::<Result<_, _>>()?;
        Ok(Matrix::Parts(parts))
    }

    fn dtype(&self) -> DType {
        DType::F32
    }

    fn device(&self) -> &Device {
        &self.device
    }
}

/// Asks for nothing but remembers what a model would ask for: the expected names and shapes of a checkpoint.
#[derive(Default)]
pub struct Manifest {
    shapes: RefCell<BTreeMap<String, Vec<usize>>>,
}

impl Manifest {
    /// Names and shapes asked for so far.
    pub fn shapes(self) -> BTreeMap<String, Vec<usize>> {
        self.shapes.into_inner()
    }
}

impl Source for Manifest {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, WeightError> {
        self.shapes.borrow_mut().insert(name.to_owned(), shape.to_vec());
        let place = |source| WeightError::Place { name: name.to_owned(), source };
        // One number seen through zero strides: a 7B model's shapes cost no memory.
        let one = Tensor::zeros(1, DType::F32, &Device::Cpu).map_err(place)?;
        one.broadcast_as(shape).map_err(place)
    }

    fn matrix(&self, parts: &[(String, usize)], input: usize) -> Result<Matrix, WeightError> {
        let parts = parts.iter().map(|(name, out)| self.tensor(name, &[*out, input])).collect::<Result<_, _>>()?;
        Ok(Matrix::Parts(parts))
    }

    fn dtype(&self) -> DType {
        DType::F32
    }

    fn device(&self) -> &Device {
        &Device::Cpu
    }
}
