//! Keys and values of the tokens seen so far, preallocated. Knows nothing of which tokens they belong to.

use candle_core::{DType, Device, Tensor};

use crate::model::Result;

/// Keys and values of one layer, `[kv_heads, capacity, head_dim]` each, of which the first `len` are valid.
#[derive(Debug)]
struct Layer {
    keys: Tensor,
    values: Tensor,
}

/// The KV cache of a language model.
#[derive(Debug)]
pub struct KvCache {
    layers: Vec<Option<Layer>>,
    kv_heads: usize,
    head_dim: usize,
    dtype: DType,
    device: Device,
    len: usize,
    capacity: usize,
}

impl KvCache {
    /// An empty cache; nothing is allocated before [`Self::reserve`].
    pub fn new(layers: usize, kv_heads: usize, head_dim: usize, dtype: DType, device: &Device) -> Self {
        let layers = (0..layers).map(|_| None).collect();
        Self { layers, kv_heads, head_dim, dtype, device: device.clone(), len: 0, capacity: 0 }
    }

    /// Valid tokens.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no token is cached.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        2 * self.layers.len() * self.kv_heads * self.capacity * self.head_dim * self.dtype.size_in_bytes()
    }

    /// Makes room for `tokens` in all, keeping what is valid.
    pub fn reserve(&mut self, tokens: usize) -> Result<()> {
        if tokens <= self.capacity {
            return Ok(());
        }
        let shape = (self.kv_heads, tokens, self.head_dim);
        for slot in &mut self.layers {
            let grown = Layer {
                keys: Tensor::zeros(shape, self.dtype, &self.device)?,
                values: Tensor::zeros(shape, self.dtype, &self.device)?,
            };
            if let Some(old) = slot.as_ref().filter(|_| self.len > 0) {
                grown.keys.slice_set(&old.keys.narrow(1, 0, self.len)?.contiguous()?, 1, 0)?;
                grown.values.slice_set(&old.values.narrow(1, 0, self.len)?.contiguous()?, 1, 0)?;
            }
            *slot = Some(grown);
        }
        self.capacity = tokens;
        Ok(())
    }

    /// Writes `[kv_heads, n, head_dim]` of one layer behind the valid tokens and returns views of everything up
    /// to and with them. The tokens become valid for the next pass by [`Self::advance`].
    pub fn append(&mut self, layer: usize, keys: &Tensor, values: &Tensor) -> Result<(Tensor, Tensor)> {
        let n = keys.dim(1)?;
        self.reserve(self.len + n)?;
        let Some(slot) = &self.layers[layer] else {
            return Err(crate::model::ModelError::Input(format!("no cache for layer {layer}")));
        };
        slot.keys.slice_set(&keys.contiguous()?, 1, self.len)?;
        slot.values.slice_set(&values.contiguous()?, 1, self.len)?;
        Ok((slot.keys.narrow(1, 0, self.len + n)?, slot.values.narrow(1, 0, self.len + n)?))
    }

    /// Counts `n` appended tokens as valid, after every layer appended them.
    pub fn advance(&mut self, n: usize) {
        self.len += n;
    }

    /// Forgets all but the first `len` tokens.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }
}
