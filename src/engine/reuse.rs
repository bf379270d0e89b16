//! What can be reused of earlier runs, found by content: encoder blocks by the bytes that feed them, prompt
//! tokens by id, position and block. Knows nothing of how blocks are computed.
//!
//! Reuse by content is exact by construction: whatever changed (a louder sound moves the log-mel floor of the
//! whole clip, a longer clip moves every sampled frame) shows up as another key and is computed anew.

use std::collections::HashMap;

use candle_core::Tensor;
use sha2::{Digest, Sha256};

use crate::model::qwen2_5_omni::config::Config;
use crate::model::qwen2_5_omni::processor::Inputs;

/// The SHA-256 of the numbers that feed a block, and of their shape.
pub type BlockKey = [u8; 32];

/// Hashes a block: what kind it is, its shape and its numbers.
pub fn block_key(kind: &str, shape: &[usize], values: &[f32]) -> BlockKey {
    let mut hash = Sha256::new();
    hash.update(kind.as_bytes());
    for n in shape {
        hash.update((*n as u64).to_le_bytes());
    }
    hash.update(bytemuck::cast_slice::<f32, u8>(values));
    hash.finalize().into()
}

/// Everything the keys and values of a prompt token depend on, given that all tokens before it are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenKey {
    id: u32,
    position: [u32; 3],
    /// The encoder block(s) behind a media token and its place in them.
    block: Option<(BlockKey, usize)>,
}

impl TokenKey {
    /// A word or special token at `position` (t, h, w).
    pub fn word(id: u32, position: [u32; 3]) -> Self {
        Self { id, position, block: None }
    }
}

/// The blocks of one picture medium.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PictureBlocks {
    /// One key per grid step.
    pub steps: Vec<BlockKey>,
    /// Tokens per grid step.
    pub tokens_per_step: usize,
}

/// The blocks of one audio medium.
#[derive(Debug, Clone, PartialEq)]
pub struct AudioBlocks {
    /// One key per chunk.
    pub keys: Vec<BlockKey>,
    /// The chunks' mel frames, `[mels, frames]` row-major each.
    pub chunks: Vec<Vec<f32>>,
    /// Tokens of the whole clip.
    pub tokens: usize,
}

/// Every block of a prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Blocks {
    /// Stills in order.
    pub images: Vec<PictureBlocks>,
    /// Videos in order.
    pub videos: Vec<PictureBlocks>,
    /// Sounds in order.
    pub audios: Vec<AudioBlocks>,
}

impl Blocks {
    /// Cuts the inputs into blocks and hashes them.
    pub fn of(inputs: &Inputs, config: &Config) -> Self {
        let merge = config.vision.spatial_merge_size;
        let dim = config.vision.patch_dim();
        let pictures = |list: &[crate::model::qwen2_5_omni::processor::PictureInput]| {
            list.iter()
                .map(|picture| {
                    let [_, h, w] = picture.grid;
                    let steps = picture.pixels.chunks_exact(h * w * dim);
                    PictureBlocks {
                        steps: steps.map(|pixels| block_key("picture", &[h, w], pixels)).collect(),
                        tokens_per_step: h * w / (merge * merge),
                    }
                })
                .collect()
        };
        let audios = inputs
            .audios
            .iter()
            .map(|audio| {
                let mels = config.audio.num_mel_bins;
                let size = config.audio.chunk_frames();
                let chunks: Vec<Vec<f32>> = (0..audio.frames)
                    .step_by(size)
                    .map(|start| {
                        let end = (start + size).min(audio.frames);
                        (0..mels)
                            .flat_map(|m| &audio.mel[m * audio.frames + start..m * audio.frames + end])
                            .copied()
                            .collect()
                    })
                    .collect();
                AudioBlocks {
                    keys: chunks.iter().map(|c| block_key("audio", &[mels, c.len() / mels], c)).collect(),
                    chunks,
                    tokens: crate::model::qwen2_5_omni::config::audio_tokens(audio.frames),
                }
            })
            .collect();
        Self { images: pictures(&inputs.images), videos: pictures(&inputs.videos), audios }
    }

    /// The key of every prompt token.
    pub fn token_keys(&self, inputs: &Inputs, config: &Config) -> Vec<TokenKey> {
        let picture = |media: &[PictureBlocks]| -> Vec<(BlockKey, usize)> {
            media
                .iter()
                .flat_map(|m| m.steps.iter().flat_map(|key| (0..m.tokens_per_step).map(|i| (*key, i))))
                .collect()
        };
        // Pooling joins two encoder positions, which may belong to two chunks.
        let positions_per_chunk = config.audio.n_window;
        let sound: Vec<(BlockKey, usize)> = self
            .audios
            .iter()
            .flat_map(|audio| {
                (0..audio.tokens).map(|token| {
                    let first = (2 * token / positions_per_chunk).min(audio.keys.len() - 1);
                    let second = ((2 * token + 1) / positions_per_chunk).min(audio.keys.len() - 1);
                    let place = 2 * token % positions_per_chunk;
                    if first == second {
                        return (audio.keys[first], place);
                    }
                    let mut hash = Sha256::new();
                    hash.update(audio.keys[first]);
                    hash.update(audio.keys[second]);
                    (hash.finalize().into(), place)
                })
            })
            .collect();
        let mut pools = [
            (config.image_token_index, picture(&self.images).into_iter()),
            (config.video_token_index, picture(&self.videos).into_iter()),
            (config.audio_token_index, sound.into_iter()),
        ];
        let [t, h, w] = &inputs.positions;
        inputs
            .ids
            .iter()
            .enumerate()
            .map(|(i, id)| {
                let pool = pools.iter_mut().find(|(media, _)| media == id);
                let block = pool.and_then(|(_, keys)| keys.next());
                TokenKey { id: *id, position: [t[i], h[i], w[i]], block }
            })
            .collect()
    }
}

/// Length of the longest common prefix.
pub fn common_prefix(a: &[TokenKey], b: &[TokenKey]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

/// Encoder outputs by block, the least recently used dropped beyond a budget of bytes.
#[derive(Debug)]
pub struct EncoderCache {
    entries: HashMap<BlockKey, (Tensor, u64)>,
    bytes: usize,
    budget: usize,
    clock: u64,
}

impl EncoderCache {
    /// An empty cache of at most `budget` bytes.
    pub fn new(budget: usize) -> Self {
        Self { entries: HashMap::new(), bytes: 0, budget, clock: 0 }
    }

    /// The output of a block.
    pub fn get(&mut self, key: &BlockKey) -> Option<Tensor> {
        self.clock += 1;
        let (tensor, used) = self.entries.get_mut(key)?;
        *used = self.clock;
        Some(tensor.clone())
    }

    /// Keeps the output of a block; `tensor` must own its memory rather than view a larger one.
    pub fn put(&mut self, key: BlockKey, tensor: Tensor) {
        self.clock += 1;
        self.bytes += size(&tensor);
        if let Some((old, _)) = self.entries.insert(key, (tensor, self.clock)) {
            self.bytes -= size(&old);
        }
        while self.bytes > self.budget && self.entries.len() > 1 {
            let oldest = self.entries.iter().min_by_key(|(_, (_, used))| *used).map(|(key, _)| *key);
            let Some((dropped, _)) = oldest.and_then(|key| self.entries.remove(&key)) else { break };
            self.bytes -= size(&dropped);
        }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }
}

fn size(tensor: &Tensor) -> usize {
    tensor.elem_count() * tensor.dtype().size_in_bytes()
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    #[test]
    fn the_least_recently_used_block_goes_first() {
        let block = |n: u8| [n; 32];
        let tensor = || Tensor::zeros(10, DType::F32, &Device::Cpu).unwrap();
        let mut cache = EncoderCache::new(100);
        cache.put(block(1), tensor());
        cache.put(block(2), tensor());
        assert!(cache.get(&block(1)).is_some());
        cache.put(block(3), tensor());
        assert!(cache.get(&block(2)).is_none());
        assert!(cache.get(&block(1)).is_some() && cache.get(&block(3)).is_some());
        assert_eq!(cache.bytes(), 80);
    }
}
