//! What can be wrong with a checkpoint's weights, in words that name the file and the tensor. Knows nothing of reading
//! them.

use std::path::PathBuf;

/// What is wrong with a checkpoint's weights.
#[derive(Debug, thiserror::Error)]
pub enum WeightError {
    /// A file could not be opened or mapped.
    #[error("cannot read the tensors in {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not a whole safetensors file.
    #[error("not a complete safetensors file: {message} ({})", path.display())]
    Format {
        /// Which file.
        path: PathBuf,
        /// What the parser said.
        message: String,
    },
    /// The shard index is none.
    #[error("not a usable shard index: {message} ({})", path.display())]
    Index {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// Two files of a checkpoint hold the same tensor.
    #[error("tensor {name} is in two files, {} and {}; remove the one that is not meant", first.display(), second.display())]
    Twice {
        /// Which tensor.
        name: String,
        /// One file.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// The folder has no weights at all.
    #[error("no model.safetensors and no model.safetensors.index.json in this folder ({})", dir.display())]
    NoWeights {
        /// Which folder.
        dir: PathBuf,
    },
    /// A tensor that the model needs is not there.
    #[error("tensor {name} is missing ({})", path.display())]
    Missing {
        /// Which tensor.
        name: String,
        /// The file that was searched, or the list of them.
        path: PathBuf,
    },
    /// A tensor has another shape than the configuration says.
    #[error("tensor {name} has shape {found:?}, the configuration needs {expected:?} ({})", path.display())]
    Shape {
        /// Which tensor.
        name: String,
        /// Shape in the file.
        found: Vec<usize>,
        /// Shape that follows from config.json.
        expected: Vec<usize>,
        /// File that holds the tensor.
        path: PathBuf,
    },
    /// A tensor is stored in a type that is not f32, f16, bf16 or f64.
    #[error("tensor {name} is stored as {dtype}, which is not a weight type ({})", path.display())]
    Type {
        /// Which tensor.
        name: String,
        /// Type in the file.
        dtype: String,
        /// File that holds the tensor.
        path: PathBuf,
    },
    /// A tensor holds NaN or an infinity.
    #[error("tensor {name} holds a number that is not finite at index {index} ({})", path.display())]
    NotFinite {
        /// Which tensor.
        name: String,
        /// Flat index of the first such number.
        index: usize,
        /// File that holds the tensor.
        path: PathBuf,
    },
    /// The file holds tensors that nobody reads.
    #[error("{count} tensor(s) belong to no part of this architecture, the first is {first} ({})", path.display())]
    Unread {
        /// How many.
        count: usize,
        /// The first in name order.
        first: String,
        /// The file that holds the first.
        path: PathBuf,
    },
    /// The device has no room, or a conversion failed.
    #[error("cannot place tensor {name} on the device")]
    Place {
        /// Which tensor.
        name: String,
        /// What the device said.
        source: candle_core::Error,
    },
}
