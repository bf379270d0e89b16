//! `attention.safetensors`: every captured row of an answer, with what each key is.
//! Knows nothing of how rows are captured.

use std::collections::HashMap;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use crate::event::{Answer, AnswerToken};
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
    // The widest first, so that all are aligned.
    let mut parts = vec![("span_secs".to_owned(), Dtype::F64, vec![n, 2], Part::Bytes(span))];
    for (k, AnswerToken { row, .. }) in answer.tokens.iter().enumerate() {
        parts.push((format!("attn.{k}"), Dtype::F32, vec![row.layers, row.heads, row.keys], Part::Row(&row.probs)));
    }
    parts.extend([
        ("ids".to_owned(), Dtype::U32, vec![n], Part::Bytes(ids)),
        ("medium".to_owned(), Dtype::I32, vec![n], Part::Bytes(medium)),
        ("cell".to_owned(), Dtype::I32, vec![n, 3], Part::Bytes(cell)),
        ("kind".to_owned(), Dtype::U8, vec![n], Part::Bytes(kind)),
    ]);
    let metadata = HashMap::from([
        ("format".to_owned(), "modalens-attention-1".to_owned()),
        ("answer".to_owned(), answer.text.clone()),
        ("provenance".to_owned(), serde_json::to_string(provenance.as_ref())?),
    ]);
    let mut end = 0;
    let infos = parts.iter().map(|(name, dtype, shape, part)| {
        let begin = end;
        end += part.len();
        (name.clone(), TensorInfo { dtype: *dtype, shape: shape.clone(), data_offsets: (begin, end) })
    });
    let header = Metadata::new(Some(metadata), infos.collect()).context("the attention rows do not fit a file")?;
    let mut header = serde_json::to_vec(&header)?;
    header.resize(header.len().next_multiple_of(8), b' ');
    write_whole(path, |file| {
        let mut file = BufWriter::new(file);
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        parts.iter().try_for_each(|(.., part)| part.write(&mut file))?;
        Ok(file.flush()?)
    })
}

/// What is in a tensor. Rows are gigabytes with a large model, so they go to the file from where they are.
enum Part<'a> {
    Bytes(Vec<u8>),
    Row(&'a [f32]),
}

impl Part<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Row(row) => size_of_val(*row),
        }
    }

    fn write(&self, file: &mut impl Write) -> std::io::Result<()> {
        match self {
            Self::Bytes(bytes) => file.write_all(bytes),
            Self::Row(row) => row.iter().try_for_each(|p| file.write_all(&p.to_le_bytes())),
        }
    }
}
