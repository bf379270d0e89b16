//! One frame of a video through the real shaders, as a PNG, with or without a heat map.
//! Knows nothing of models.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use safetensors::SafeTensors;

use crate::export::overlay::PlacedMap;
use crate::export::write_png;
use crate::frame::{Planes, display_size};
use crate::gpu::Headless;
use crate::media::{VideoReader, glance};
use crate::provenance::Provenance;

/// What to draw.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// The video.
    pub video: PathBuf,
    /// The instant, in seconds from the container's start: the newest frame with pts ≤ this is drawn.
    pub at_secs: f64,
    /// An `attention.safetensors` whose mean attention is laid over the frame.
    pub heat: Option<PathBuf>,
}

/// Draws the frame into `out` and returns its pts in seconds.
pub fn snapshot(what: &Snapshot, out: &Path) -> Result<f64> {
    if glance(&what.video)?.video.is_none() {
        bail!("there is no picture in this file ({})", what.video.display());
    }
    let mut reader = VideoReader::open(&what.video)?;
    // A seek lands on the newest frame that is not later; before the first frame it lands on that.
    reader.seek(what.at_secs)?;
    let frame = reader.next_frame()?.with_context(|| format!("no frame at {} s", what.at_secs))?;
    let heat = what.heat.as_deref().map(attention_of).transpose()?;
    let placed = heat.as_ref().map(|(mean, provenance)| PlacedMap::new(mean, provenance));
    let overlay = placed.as_ref().and_then(|p| p.picture_at(frame.pts_secs()));
    let size = display_size(&frame);
    let rgba = Headless::new()?.render_rgba(&frame, overlay.as_ref(), size)?;
    write_png(out, size, &rgba)?;
    Ok(frame.pts_secs())
}

/// Mean attention `[keys]` over the answer tokens of an `attention.safetensors`, and the tokens' provenance.
fn attention_of(path: &Path) -> Result<(Vec<f32>, Provenance)> {
    let data = std::fs::read(path).with_context(|| format!("cannot read --heat ({})", path.display()))?;
    let foreign = || format!("this is no attention file of `modalens ask --out` ({})", path.display());
    let (_, header) = SafeTensors::read_metadata(&data).with_context(foreign)?;
    let file = SafeTensors::deserialize(&data).with_context(foreign)?;
    let text = header.metadata().as_ref().and_then(|notes| notes.get("provenance")).with_context(foreign)?;
    let provenance: Provenance = serde_json::from_str(text).with_context(foreign)?;
    let mut mean = vec![0f32; provenance.tokens.len()];
    let mut rows = 0usize;
    for k in 0.. {
        let Ok(row) = file.tensor(&format!("attn.{k}")) else { break };
        let [layers, heads, keys] = row.shape()[..] else { bail!(foreign()) };
        ensure!(keys <= mean.len() && keys > 0 && row.dtype() == safetensors::Dtype::F32, foreign());
        let weight = 1.0 / (layers * heads).max(1) as f32;
        for (i, bytes) in row.data().as_chunks().0.iter().enumerate() {
            mean[i % keys] += weight * f32::from_le_bytes(*bytes);
        }
        rows += 1;
    }
    ensure!(rows > 0, foreign());
    for value in &mut mean {
        *value /= rows as f32;
    }
    check(&provenance).with_context(foreign)?;
    Ok((mean, provenance))
}

/// A file may be anyone's: its tokens must lie in its own grids.
fn check(provenance: &Provenance) -> Result<()> {
    use crate::provenance::Source;
    let most = 1 << 24;
    let cells = provenance.videos.iter().try_fold(0usize, |all, grid| {
        let cells = grid.rows.checked_mul(grid.cols)?.checked_mul(grid.steps.len())?;
        all.checked_add(cells).filter(|all| *all <= most)
    });
    ensure!(cells.is_some(), "a grid is impossibly large");
    let tokens =
        provenance.audios.iter().try_fold(0usize, |all, a| all.checked_add(a.tokens).filter(|all| *all <= most));
    ensure!(tokens.is_some(), "a sound is impossibly long");
    for token in &provenance.tokens {
        let inside = match &token.source {
            Source::Video { medium, step, row, col } => {
                let grid = provenance.videos.get(*medium);
                grid.is_some_and(|g| *step < g.steps.len() && *row < g.rows && *col < g.cols)
            }
            Source::Audio { medium, index } => provenance.audios.get(*medium).is_some_and(|a| *index < a.tokens),
            Source::Text { .. } | Source::Special => true,
        };
        ensure!(inside, "a token lies outside its grid");
    }
    Ok(())
}
