//! Captures one query's attention in every layer and head while the language model runs.
//! Knows nothing of what the keys are.

use std::ops::Range;

use candle_core::Tensor;

use crate::capture::AttentionRow;
use crate::lens::courier::{Courier, Parcel};
use crate::model::nn::tap::{Observed, Rows, Site, Tap, Tower};
use crate::model::{ModelError, Result};

/// A tap for the attention row of one sequence position; rows stay on the device until they are sent.
#[derive(Debug)]
pub struct Recorder {
    query: usize,
    /// `[heads, 1, keys]` per layer, in order.
    layers: Vec<Tensor>,
}

impl Recorder {
    /// Watches the query at sequence position `query`.
    pub fn new(query: usize) -> Self {
        Self { query, layers: Vec::new() }
    }

    /// Sends the captured row to the host.
    ///
    /// Fails when fewer than `layers` layers were seen: the pass did not compute the query.
    pub fn send(self, layers: usize, courier: &mut Courier) -> Result<PendingRow> {
        if self.layers.len() != layers {
            return Err(ModelError::Input(format!(
                "the row of token {} was captured in {} of {layers} layers",
                self.query,
                self.layers.len()
            )));
        }
        let stacked = Tensor::stack(&self.layers, 0)?; // [layers, heads, 1, keys]
        let (layers, heads, _, keys) = stacked.dims4()?;
        Ok(PendingRow { query: self.query, size: [layers, heads, keys], parcel: courier.send(&stacked)? })
    }

    /// The captured row, waited for.
    pub fn take(self, layers: usize) -> Result<AttentionRow> {
        let mut courier = Courier::default();
        self.send(layers, &mut courier)?.arrive(&mut courier)
    }
}

/// A captured row on its way to the host.
#[derive(Debug)]
pub struct PendingRow {
    query: usize,
    size: [usize; 3],
    parcel: Parcel,
}

impl PendingRow {
    /// Waits for it. `courier` is the one it was sent with.
    pub fn arrive(self, courier: &mut Courier) -> Result<AttentionRow> {
        let [layers, heads, keys] = self.size;
        Ok(AttentionRow { query: self.query, layers, heads, keys, probs: courier.receive(self.parcel)? })
    }
}

impl Tap for Recorder {
    fn rows(&self, site: Site, queries: Range<usize>) -> Rows {
        if site.tower == Tower::Text && queries.contains(&self.query) {
            Rows::Range(self.query..self.query + 1)
        } else {
            Rows::None
        }
    }

    fn record(&mut self, _site: Site, observed: &Observed<'_>) -> Result<()> {
        // The block's keys end with its last query; what lies behind this one is masked and zero.
        let row = observed.probs.narrow(2, 0, self.query + 1 - observed.keys.start)?;
        self.layers.push(row.contiguous()?);
        Ok(())
    }
}
