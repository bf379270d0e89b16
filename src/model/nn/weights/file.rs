//! One safetensors file: header checked, tensors read piece by piece. Knows nothing of checkpoints or of models.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use rayon::prelude::*;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use super::WeightError;

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

    /// Reads a tensor piece by piece, in parallel: each piece's numbers become f32, and `encode` turns them into as many
    /// `T` as hold them, `per` numbers each (a divisor of `PIECE`). No more than one piece per thread is ever held beside
    /// `out`. Refuses NaN and what is larger than `most`, the largest number that `T` can stand for.
    pub fn read<T: Send>(
        &self,
        info: &TensorInfo,
        name: &str,
        out: &mut [T],
        per: usize,
        most: f32,
        encode: impl Fn(&[f32], &mut [T]) + Sync,
    ) -> Result<(), WeightError> {
        let (size, decode): (usize, fn(&[u8]) -> f32) = match info.dtype {
            Dtype::F32 => (4, |b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
            Dtype::BF16 => (2, |b| bf16::from_le_bytes([b[0], b[1]]).to_f32()),
            Dtype::F16 => (2, |b| f16::from_le_bytes([b[0], b[1]]).to_f32()),
            other => {
                let dtype = format!("{other:?}");
                return Err(WeightError::Type { name: name.to_owned(), dtype, path: self.path.clone() });
            }
        };
        let count = (info.data_offsets.1 - info.data_offsets.0) / size;
        debug_assert_eq!(count, out.len() * per);
        let start = self.data_start + info.data_offsets.0 as u64;
        let buffers = || (Vec::new(), Vec::new());
        out.par_chunks_mut(PIECE / per).enumerate().try_for_each_init(buffers, |(bytes, numbers), (i, out)| {
            let first = i * PIECE;
            bytes.resize(out.len() * per * size, 0);
            read_at(&self.file, bytes, start + (first * size) as u64)
                .map_err(|source| WeightError::Read { path: self.path.clone(), source })?;
            numbers.clear();
            numbers.extend(bytes.chunks_exact(size).map(decode));
            if let Some(k) = numbers.iter().position(|x| x.is_nan() || x.abs() > most) {
                let index = first + k;
                return Err(WeightError::NotFinite { name: name.to_owned(), index, path: self.path.clone() });
            }
            encode(numbers, out);
            Ok(())
        })
    }
}

/// Numbers read at a time, by each thread; a multiple of every quantised block.
const PIECE: usize = 1 << 19;

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
