//! Weights that are being trained. Knows nothing of how.

use std::collections::BTreeMap;
use std::path::PathBuf;

use candle_core::{DType, Device, Tensor, Var};

use super::{Matrix, Source, WeightError};

/// Training variables by name.
pub struct Variables {
    vars: BTreeMap<String, Var>,
    device: Device,
}

impl Variables {
    /// Variables that stand for a model's weights.
    pub fn new(vars: BTreeMap<String, Var>, device: &Device) -> Self {
        Self { vars, device: device.clone() }
    }

    /// The variables by name.
    pub fn vars(&self) -> &BTreeMap<String, Var> {
        &self.vars
    }
}

impl Source for Variables {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, WeightError> {
        let path = PathBuf::from("training variables");
        let Some(var) = self.vars.get(name) else {
            return Err(WeightError::Missing { name: name.to_owned(), path });
        };
        if var.dims() != shape {
            let found = var.dims().to_vec();
            return Err(WeightError::Shape { name: name.to_owned(), found, expected: shape.to_vec(), path });
        }
        Ok(var.as_tensor().clone())
    }

    fn matrix(&self, parts: &[(String, usize)], input: usize) -> Result<Matrix, WeightError> {
        let parts = parts.iter().map(|(name, out)| self.tensor(name, &[*out, input])).collect::<Result<_, _>>()?;
        Ok(Matrix::Parts(parts))
    }

    fn dtype(&self) -> DType {
        DType::F32
    }

    fn device(&self) -> &Device {
        &self.device
    }
}
