//! A checkpoint folder as a source of weights. Every tensor that a model asks for and every tensor that the files hold is
//! accounted for. Knows nothing of any architecture, but for the name of the part that is read of a release in several.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::quantized::k_quants::{BlockQ4K, BlockQ8_0};
use candle_core::quantized::{GgmlType, QMatMul, QStorage, QTensor};
use candle_core::{DType, Device, Tensor, WithDType};
use half::{bf16, f16};
use safetensors::tensor::TensorInfo;
use sha2::{Digest, Sha256};

use super::{Form, Holding, Matrix, Source, TensorFile, WeightError};

/// A checkpoint folder: safetensors, one file or several.
pub struct Checkpoint {
    dir: PathBuf,
    files: Vec<TensorFile>,
    /// Tensor name → index into `files`.
    index: BTreeMap<String, usize>,
    read: RefCell<HashSet<String>>,
    holding: Holding,
    device: Device,
}

/// A number that dense weights can be held in.
trait Number: WithDType + Default {
    /// The largest magnitude that does not round to infinity.
    const MOST: f32;
    fn of(x: f32) -> Self;
}

impl Number for f32 {
    const MOST: f32 = f32::MAX;
    fn of(x: f32) -> Self {
        x
    }
}

impl Number for f16 {
    const MOST: f32 = 65_519.0;
    fn of(x: f32) -> Self {
        Self::from_f32(x)
    }
}

impl Number for bf16 {
    const MOST: f32 = f32::from_bits(0x7f7f_7fff);
    fn of(x: f32) -> Self {
        Self::from_f32(x)
    }
}

impl Checkpoint {
    /// Opens `model.safetensors` or the shards of `model.safetensors.index.json` in `dir`.
    pub fn open(dir: &Path, holding: impl Into<Holding>, device: &Device) -> Result<Self, WeightError> {
        let paths = weight_files(dir)?;
        let files = paths.iter().map(|p| TensorFile::open(p)).collect::<Result<Vec<_>, _>>()?;
        let mut index = BTreeMap::new();
        for (i, file) in files.iter().enumerate() {
            for name in file.tensors().into_keys() {
                if let Some(other) = index.insert(name.clone(), i) {
                    let [first, second] = [&files[other], file].map(|f| f.path().to_owned());
                    return Err(WeightError::Twice { name, first, second });
                }
            }
        }
        let (read, holding, device) = (RefCell::default(), holding.into(), device.clone());
        Ok(Self { dir: dir.to_owned(), files, index, read, holding, device })
    }

    /// Fails when the files hold tensors that nobody asked for, apart from those `expected` names.
    pub fn finish(&self, expected: impl Fn(&str) -> bool) -> Result<(), WeightError> {
        let read = self.read.borrow();
        let unread: Vec<_> = self.index.keys().filter(|n| !read.contains(*n) && !expected(n)).collect();
        match unread.first() {
            None => Ok(()),
            Some(first) => {
                let path = self.files[self.index[*first]].path().to_owned();
                Err(WeightError::Unread { count: unread.len(), first: (*first).clone(), path })
            }
        }
    }

    fn info(&self, name: &str, shape: &[usize]) -> Result<(&TensorFile, &TensorInfo), WeightError> {
        // What is missing in shards is missing in what lists them.
        let searched = || match &self.files[..] {
            [only] => only.path().to_owned(),
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
                path: file.path().to_owned(),
            });
        }
        self.read.borrow_mut().insert(name.to_owned());
        Ok((file, info))
    }

    /// Reads matrices `[out_i, in]` one below the other, each straight to where it stays: `T` holds `per` numbers.
    fn stack<T: Clone + Send>(
        &self,
        parts: &[(String, usize)],
        input: usize,
        zero: &T,
        per: usize,
        most: f32,
        encode: impl Fn(&[f32], &mut [T]) + Sync,
    ) -> Result<Vec<T>, WeightError> {
        let sources = parts.iter().map(|(name, out)| self.info(name, &[*out, input])).collect::<Result<Vec<_>, _>>()?;
        let rows: usize = parts.iter().map(|(_, out)| out).sum();
        let mut whole = vec![zero.clone(); rows * input / per];
        let mut rest = whole.as_mut_slice();
        for ((name, out), (file, info)) in parts.iter().zip(sources) {
            let (own, behind) = rest.split_at_mut(out * input / per);
            file.read(info, name, own, per, most, &encode)?;
            rest = behind;
        }
        Ok(whole)
    }

    fn dense<T: Number>(&self, parts: &[(String, usize)], input: usize) -> Result<Tensor, WeightError> {
        let numbers = self.stack(parts, input, &T::default(), 1, T::MOST, |from, to| {
            to.iter_mut().zip(from).for_each(|(to, from)| *to = T::of(*from));
        })?;
        let place = |source| WeightError::Place { name: first_name(parts), source };
        let rows = numbers.len() / input.max(1);
        Tensor::from_vec(numbers, (rows, input), &Device::Cpu).and_then(|t| t.to_device(&self.device)).map_err(place)
    }

    fn dense_of(&self, dtype: DType, parts: &[(String, usize)], input: usize) -> Result<Tensor, WeightError> {
        match dtype {
            DType::F16 => self.dense::<f16>(parts, input),
            DType::BF16 => self.dense::<bf16>(parts, input),
            _ => self.dense::<f32>(parts, input),
        }
    }

    fn quantized<T: GgmlType + 'static>(&self, parts: &[(String, usize)], input: usize) -> Result<Matrix, WeightError> {
        // A block's scale is held in f16.
        let blocks = self.stack(parts, input, &T::zeros(), T::BLCK_SIZE, f16::MOST, T::from_float)?;
        let rows = blocks.len() * T::BLCK_SIZE / input;
        let place = |source| WeightError::Place { name: first_name(parts), source };
        let on_host = || QTensor::new(QStorage::Cpu(Box::new(blocks)), (rows, input));
        let quantized = if self.device.is_cpu() {
            on_host()
        } else {
            on_host()
                .and_then(|host| QStorage::from_data(host.data()?, &self.device, T::DTYPE))
                .and_then(|storage| QTensor::new(storage, (rows, input)))
        };
        Ok(Matrix::Quantized(Arc::new(quantized.and_then(QMatMul::from_qtensor).map_err(place)?)))
    }
}

/// What stands for several fused matrices in a message.
fn first_name(parts: &[(String, usize)]) -> String {
    parts.first().map(|(name, _)| name.clone()).unwrap_or_default()
}

impl Source for Checkpoint {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, WeightError> {
        let place = |source| WeightError::Place { name: name.to_owned(), source };
        let (file, info) = self.info(name, shape)?;
        let mut numbers = vec![0f32; shape.iter().product()];
        file.read(info, name, &mut numbers, 1, f32::MOST, |from, to| to.copy_from_slice(from))?;
        Tensor::from_vec(numbers, shape, &Device::Cpu)
            .and_then(|t| t.to_dtype(self.dtype())?.to_device(&self.device))
            .map_err(place)
    }

    fn matrix(&self, parts: &[(String, usize)], input: usize) -> Result<Matrix, WeightError> {
        // Fused matrices are held alike, as the first of them is.
        match self.holding.of(&first_name(parts)).form(input) {
            Form::Dense(dtype) => Ok(Matrix::Dense(self.dense_of(dtype, parts, input)?)),
            Form::Q8_0 => self.quantized::<BlockQ8_0>(parts, input),
            Form::Q4K => self.quantized::<BlockQ4K>(parts, input),
        }
    }

    fn table(&self, name: &str, rows: usize, width: usize) -> Result<Tensor, WeightError> {
        self.dense_of(self.holding.of(name).dense(), &[(name.to_owned(), rows)], width)
    }

    fn dtype(&self) -> DType {
        self.holding.most.compute_dtype(&self.device)
    }

    fn device(&self) -> &Device {
        &self.device
    }
}

/// Where a checkpoint in several files lists them.
pub const SHARD_INDEX: &str = "model.safetensors.index.json";

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
    Ok(shards(&text).map_err(format)?.into_iter().map(|name| dir.join(name)).collect())
}

/// What the tensors begin with that are read of a release in several parts.
const READ_PART: &str = "thinker.";

/// The shards that [`SHARD_INDEX`] lists, in order. Where a release says by name which of its tensors belong to the part
/// that is read, shards without any of them are left out: they need not be there.
pub fn shards(index: &str) -> Result<Vec<String>, String> {
    let index: ShardIndex = serde_json::from_str(index).map_err(|e| e.to_string())?;
    let parted = index.weight_map.keys().any(|tensor| tensor.starts_with(READ_PART));
    let needed = index.weight_map.into_iter().filter(|(tensor, _)| !parted || tensor.starts_with(READ_PART));
    let mut names: Vec<_> = needed.map(|(_, shard)| shard).collect();
    names.sort();
    names.dedup();
    // A shard is a file beside its index; anything else is not followed.
    let file = |name: &str| Path::new(name).file_name().is_some_and(|f| f == name) && !name.contains('\\');
    match names.iter().find(|name| !file(name)) {
        Some(bad) => Err(format!("{bad:?} is not the name of a file in this folder")),
        None => Ok(names),
    }
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

/// Bytes hashed at a time.
const READ_BYTES: usize = 1 << 20;
