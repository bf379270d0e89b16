//! Weights drawn on the device itself: a model of any size to time, that no file holds. Knows nothing of what is timed.

use candle_core::{DType, Device, Tensor};

use super::{Hold, Matrix, Source, WeightError};

/// Normal numbers of about the size that keeps activations near one; vectors are ones, biases zeros.
pub struct Random {
    hold: Hold,
    device: Device,
}

impl Random {
    /// Weights held as `hold` on `device`; quantised forms are not drawn, f16 stands for them.
    pub fn new(hold: Hold, device: &Device) -> Self {
        Self { hold, device: device.clone() }
    }

    fn draw(&self, name: &str, shape: &[usize], dtype: DType) -> candle_core::Result<Tensor> {
        if shape.len() == 1 {
            let value = if name.ends_with("bias") { 0f32 } else { 1.0 };
            return Tensor::full(value, shape, &self.device)?.to_dtype(dtype);
        }
        let inputs: usize = shape[1..].iter().product();
        Tensor::randn(0f32, 1.0 / (inputs as f32).sqrt(), shape, &self.device)?.to_dtype(dtype)
    }
}

impl Source for Random {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, WeightError> {
        self.draw(name, shape, self.dtype()).map_err(|source| WeightError::Place { name: name.to_owned(), source })
    }

    fn matrix(&self, parts: &[(String, usize)], input: usize) -> Result<Matrix, WeightError> {
        let rows: usize = parts.iter().map(|(_, out)| out).sum();
        let name = parts.first().map(|(name, _)| name.clone()).unwrap_or_default();
        let drawn = self.draw(&name, &[rows, input], self.hold.dense());
        Ok(Matrix::Dense(drawn.map_err(|source| WeightError::Place { name, source })?))
    }

    fn table(&self, name: &str, rows: usize, width: usize) -> Result<Tensor, WeightError> {
        let drawn = self.draw(name, &[rows, width], self.hold.dense());
        drawn.map_err(|source| WeightError::Place { name: name.to_owned(), source })
    }

    fn dtype(&self) -> DType {
        self.hold.compute_dtype(&self.device)
    }

    fn device(&self) -> &Device {
        &self.device
    }
}
