//! From prepared inputs to the language model's embeddings: the towers run on what is not known by its content already.
//! Knows nothing of answers.

use std::time::Instant;

use anyhow::Result;
use candle_core::Tensor;

use crate::engine::reuse::{AudioBlocks, BlockKey, Blocks, PictureBlocks};
use crate::engine::session::{PATCHES_PER_PASS, Run, Session, Update, ms};
use crate::event::{Reuse, Stage, Timing};
use crate::model::nn::pass::{Mode, Pass};
use crate::model::qwen2_5_omni::processor::{Inputs, PictureInput};

impl Session {
    /// Embeddings of the prompt's tokens from `prefix` on; only the encoder blocks they need are computed.
    pub(super) fn embeddings(
        &mut self,
        inputs: &Inputs,
        blocks: &Blocks,
        prefix: usize,
        run: &mut Run<'_>,
        timing: &mut Timing,
        reuse: &mut Reuse,
    ) -> Result<Tensor> {
        let config = self.thinker.config().clone();
        let skipped = |id: u32| inputs.ids[..prefix].iter().filter(|i| **i == id).count();
        (run.notify)(Update::Stage(Stage::Vision));
        let started = Instant::now();
        let images = self.pictures(&inputs.images, &blocks.images, skipped(config.image_token_index), run, reuse)?;
        let videos = self.pictures(&inputs.videos, &blocks.videos, skipped(config.video_token_index), run, reuse)?;
        timing.vision = ms(started);
        (run.notify)(Update::Stage(Stage::Audio));
        let started = Instant::now();
        let audios = self.sounds(&blocks.audios, skipped(config.audio_token_index), run, reuse)?;
        timing.audio = ms(started);
        Ok(self.thinker.embeddings(&inputs.ids[prefix..], &images, &videos, &audios)?)
    }

    /// Tokens of the pictures, without the first `skip` of them.
    fn pictures(
        &mut self,
        media: &[PictureInput],
        blocks: &[PictureBlocks],
        mut skip: usize,
        run: &mut Run<'_>,
        reuse: &mut Reuse,
    ) -> Result<Vec<Tensor>> {
        let dim = self.thinker.config().vision.patch_dim();
        let mut outputs = Vec::new();
        for (medium, blocks) in media.iter().zip(blocks) {
            let tokens = blocks.steps.len() * blocks.tokens_per_step;
            if skip >= tokens {
                skip -= tokens;
                continue;
            }
            let first = skip / blocks.tokens_per_step;
            let [_, h, w] = medium.grid;
            let wanted = &blocks.steps[first..];
            let mut found: Vec<Option<Tensor>> = wanted.iter().map(|key| self.encoders.get(key)).collect();
            reuse.video_blocks += found.iter().flatten().count();
            let missing: Vec<usize> = (0..found.len()).filter(|i| found[*i].is_none()).collect();
            for group in missing.chunks((PATCHES_PER_PASS / (h * w)).max(1)) {
                let size = h * w * dim;
                let pixels: Vec<f32> = group
                    .iter()
                    .flat_map(|i| &medium.pixels[(first + i) * size..(first + i + 1) * size])
                    .copied()
                    .collect();
                let mut pass = Pass { cancel: Some(run.cancel), ..Pass::default() };
                let out = self.thinker.encode_picture(&pixels, [group.len(), h, w], &mut pass)?;
                for (k, i) in group.iter().enumerate() {
                    // A copy: a view would keep the whole pass's output alive in the cache.
                    let step = out.narrow(0, k * blocks.tokens_per_step, blocks.tokens_per_step)?.copy()?;
                    self.encoders.put(wanted[*i], step.clone());
                    found[*i] = Some(step);
                }
            }
            let steps: Vec<Tensor> = found.into_iter().flatten().collect();
            let all = Tensor::cat(&steps, 0)?;
            let drop = skip - first * blocks.tokens_per_step;
            outputs.push(all.narrow(0, drop, all.dim(0)? - drop)?);
            skip = 0;
        }
        Ok(outputs)
    }

    /// Tokens of the sounds, without the first `skip` of them.
    fn sounds(
        &mut self,
        media: &[AudioBlocks],
        mut skip: usize,
        run: &mut Run<'_>,
        reuse: &mut Reuse,
    ) -> Result<Vec<Tensor>> {
        let mut outputs = Vec::new();
        for blocks in media {
            if skip >= blocks.tokens {
                skip -= blocks.tokens;
                continue;
            }
            let mut found: Vec<Option<Tensor>> = blocks.keys.iter().map(|key| self.encoders.get(key)).collect();
            reuse.audio_blocks += found.iter().flatten().count();
            let missing: Vec<usize> = (0..found.len()).filter(|i| found[*i].is_none()).collect();
            if !missing.is_empty() {
                let chunks = missing
                    .iter()
                    .map(|i| self.thinker.audio_chunk(&blocks.chunks[*i]))
                    .collect::<crate::model::Result<Vec<_>>>()?;
                let mut pass = Pass { cancel: Some(run.cancel), ..Pass::default() };
                let states = self.thinker.audio.encode_chunks(&chunks, &mut pass)?;
                for (i, states) in missing.iter().zip(states) {
                    let states = states.copy()?;
                    let key: BlockKey = blocks.keys[*i];
                    self.encoders.put(key, states.clone());
                    found[*i] = Some(states);
                }
            }
            let states: Vec<Tensor> = found.into_iter().flatten().collect();
            let tokens = self.thinker.audio.finish(&states, Mode::Answer)?;
            outputs.push(tokens.narrow(0, skip, blocks.tokens - skip)?);
            skip = 0;
        }
        Ok(outputs)
    }
}
