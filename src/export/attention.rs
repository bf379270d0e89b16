//! `attention.safetensors`: every captured row of an answer, with what each key is.
//! Knows nothing of how rows are captured.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use safetensors::tensor::{Dtype, TensorView};

use crate::event::Answer;
use crate::export::write_whole;
use crate::provenance::Source;

/// Writes the attention rows of `answer`.
///
/// Per answer token `k`: `attn.k` `[layers, heads, keys]` f32, the row that predicted it. For all tokens, prompt
/// and answer: `kind` `[tokens]` u8 (0 text, 1 video, 2 audio, 3 special), `ids` `[tokens]` u32, `medium`
/// `[tokens]` i32 (−1 = none), `cell` `[tokens, 3]` i32 (step, row, column of a video token; index, −1, −1 of an
/// audio token; first byte, byte after the last, −1 of a text token) and `span_secs` `[tokens, 2]` f64 (nominal
/// start and end of a media token, NaN otherwise). The whole provenance is JSON in the metadata's `provenance`.
pub fn attention_file(answer: &Answer, path: &Path) -> Result<()> {
    let provenance = &answer.provenance;
    let n = provenance.tokens.len();
    let (mut kind, mut ids, mut medium) = (Vec::new(), Vec::new(), Vec::new());
    let (mut cell, mut span) = (Vec::new(), Vec::new());
    for token in &provenance.tokens {
        kind.push(token.source.kind() as u8);
        ids.extend(token.id.to_le_bytes());
        let (m, c, s) = match &token.source {
            Source::Video { medium, step, row, col } => {
                let nominal = provenance.videos[*medium].steps[*step].nominal;
                let cell = [*step as i32, *row as i32, *col as i32];
                (*medium as i32, cell, [nominal.start_secs, nominal.end_secs])
            }
            Source::Audio { medium, index } => {
                let at = provenance.audios[*medium].span(*index);
                (*medium as i32, [*index as i32, -1, -1], [at.start_secs, at.end_secs])
            }
            Source::Text { bytes, .. } => (-1, [bytes.start as i32, bytes.end as i32, -1], [f64::NAN; 2]),
            Source::Special => (-1, [-1; 3], [f64::NAN; 2]),
        };
        medium.extend(m.to_le_bytes());
        cell.extend(c.into_iter().flat_map(i32::to_le_bytes));
        span.extend(s.into_iter().flat_map(f64::to_le_bytes));
    }
    let rows: Vec<(String, Vec<usize>, Vec<u8>)> = answer
        .tokens
        .iter()
        .enumerate()
        .map(|(k, token)| {
            let row = &token.row;
            let bytes = row.probs.iter().flat_map(|p| p.to_le_bytes()).collect();
            (format!("attn.{k}"), vec![row.layers, row.heads, row.keys], bytes)
        })
        .collect();
    let mut tensors = vec![
        ("kind".to_owned(), TensorView::new(Dtype::U8, vec![n], &kind)?),
        ("ids".to_owned(), TensorView::new(Dtype::U32, vec![n], &ids)?),
        ("medium".to_owned(), TensorView::new(Dtype::I32, vec![n], &medium)?),
        ("cell".to_owned(), TensorView::new(Dtype::I32, vec![n, 3], &cell)?),
        ("span_secs".to_owned(), TensorView::new(Dtype::F64, vec![n, 2], &span)?),
    ];
    for (name, shape, bytes) in &rows {
        tensors.push((name.clone(), TensorView::new(Dtype::F32, shape.clone(), bytes)?));
    }
    let metadata = HashMap::from([
        ("format".to_owned(), "modalens-attention-1".to_owned()),
        ("answer".to_owned(), answer.text.clone()),
        ("provenance".to_owned(), serde_json::to_string(provenance.as_ref())?),
    ]);
    let bytes = safetensors::serialize(tensors, Some(metadata)).context("the attention rows do not fit a file")?;
    write_whole(path, |file| Ok(file.write_all(&bytes)?))
}
