//! AdamW with decoupled weight decay, gradient clipping and a warm-up–cosine schedule, whose whole state can be
//! saved. Knows nothing of what the variables mean.

use std::collections::BTreeMap;

use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor, Var};

use crate::tune::TuneError;

/// Settings of the optimiser.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    /// Decay of the gradient's mean.
    pub beta1: f64,
    /// Decay of the gradient's mean square.
    pub beta2: f64,
    /// Keeps the division finite.
    pub eps: f64,
    /// Pull of matrices towards zero, per unit of learning rate; vectors feel none.
    pub weight_decay: f64,
    /// Largest length of the gradient of all variables together.
    pub clip: f64,
}

impl Default for AdamW {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.98, eps: 1e-8, weight_decay: 0.05, clip: 1.0 }
    }
}

/// Linear warm-up, then half a cosine down to a tenth of the peak.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// Highest learning rate.
    pub peak: f64,
    /// Steps until it is reached.
    pub warmup: usize,
    /// Steps in all.
    pub steps: usize,
}

impl Schedule {
    /// Learning rate of step `step`, counted from 0.
    pub fn rate(&self, step: usize) -> f64 {
        if step < self.warmup {
            return self.peak * (step + 1) as f64 / self.warmup as f64;
        }
        let done = (step - self.warmup) as f64 / self.steps.saturating_sub(self.warmup).max(1) as f64;
        self.peak * (0.1 + 0.9 * 0.5 * (1.0 + (std::f64::consts::PI * done.min(1.0)).cos()))
    }
}

/// Variables with their running moments.
pub struct Optimizer {
    settings: AdamW,
    slots: BTreeMap<String, Slot>,
    /// Updates made so far.
    updates: usize,
}

struct Slot {
    var: Var,
    mean: Tensor,
    square: Tensor,
    /// Factor on the learning rate.
    scale: f64,
}

impl Optimizer {
    /// Moments of zero for `vars`. `scale` gives each name's factor on the learning rate; 0 freezes it.
    pub fn new(vars: &BTreeMap<String, Var>, settings: AdamW, scale: impl Fn(&str) -> f64) -> Result<Self, TuneError> {
        let slots = vars
            .iter()
            .filter(|(name, _)| scale(name) > 0.0)
            .map(|(name, var)| {
                let slot = Slot {
                    var: var.clone(),
                    mean: var.as_tensor().zeros_like()?,
                    square: var.as_tensor().zeros_like()?,
                    scale: scale(name),
                };
                Ok((name.clone(), slot))
            })
            .collect::<Result<_, TuneError>>()?;
        Ok(Self { settings, slots, updates: 0 })
    }

    /// One update at learning rate `rate`; returns the gradient's length before clipping. A variable without a
    /// gradient stays as it is. A gradient that is not finite is an error and changes nothing.
    pub fn step(&mut self, grads: &GradStore, rate: f64) -> Result<f64, TuneError> {
        let squares = self
            .slots
            .values()
            .filter_map(|slot| grads.get(slot.var.as_tensor()))
            .map(|g| Ok(g.sqr()?.sum_all()?))
            .collect::<Result<Vec<Tensor>, TuneError>>()?;
        if squares.is_empty() {
            return Err(TuneError::Diverged { what: "no variable has a gradient".to_owned(), step: self.updates });
        }
        let norm = f64::from(Tensor::stack(&squares, 0)?.sum_all()?.to_scalar::<f32>()?).sqrt();
        if !norm.is_finite() {
            return Err(TuneError::Diverged { what: "the gradient is not finite".to_owned(), step: self.updates });
        }
        let shrink = (self.settings.clip / norm).min(1.0);
        self.updates += 1;
        let AdamW { beta1, beta2, eps, weight_decay, .. } = self.settings;
        let correct1 = 1.0 - beta1.powi(self.updates as i32);
        let correct2 = 1.0 - beta2.powi(self.updates as i32);
        for slot in self.slots.values_mut() {
            let Some(grad) = grads.get(slot.var.as_tensor()) else { continue };
            let grad = grad.affine(shrink, 0.0)?;
            slot.mean = (slot.mean.affine(beta1, 0.0)? + grad.affine(1.0 - beta1, 0.0)?)?;
            slot.square = (slot.square.affine(beta2, 0.0)? + grad.sqr()?.affine(1.0 - beta2, 0.0)?)?;
            let spread = slot.square.affine(1.0 / correct2, 0.0)?.sqrt()?.affine(1.0, eps)?;
            let rate = rate * slot.scale;
            let update = (slot.mean.affine(rate / correct1, 0.0)? / spread)?;
            let old = slot.var.as_tensor();
            let kept = if old.rank() > 1 { old.affine(1.0 - rate * weight_decay, 0.0)? } else { old.clone() };
            // Detached: a variable must not remember the step that made it.
            slot.var.set(&(kept.detach() - update.detach())?)?;
            slot.mean = slot.mean.detach();
            slot.square = slot.square.detach();
        }
        Ok(norm)
    }

    /// The running moments by name, `mean.*` and `square.*`, and the number of updates.
    pub fn state(&self) -> (BTreeMap<String, Tensor>, usize) {
        let tensors = self
            .slots
            .iter()
            .flat_map(|(name, slot)| {
                [(format!("mean.{name}"), slot.mean.clone()), (format!("square.{name}"), slot.square.clone())]
            })
            .collect();
        (tensors, self.updates)
    }

    /// Takes up what [`Self::state`] gave.
    pub fn restore(
        &mut self,
        mut tensors: BTreeMap<String, Tensor>,
        updates: usize,
        device: &Device,
    ) -> Result<(), TuneError> {
        for (name, slot) in &mut self.slots {
            for (kind, place) in [("mean", &mut slot.mean), ("square", &mut slot.square)] {
                let key = format!("{kind}.{name}");
                let tensor = tensors.remove(&key).filter(|t| t.dims() == place.dims());
                *place = tensor
                    .ok_or_else(|| TuneError::Resume(format!("it lacks {key} in the shape of this model")))?
                    .to_device(device)?;
            }
        }
        self.updates = updates;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_then_falls_to_a_tenth() {
        let schedule = Schedule { peak: 1.0, warmup: 10, steps: 110 };
        assert!((schedule.rate(0) - 0.1).abs() < 1e-12 && (schedule.rate(9) - 1.0).abs() < 1e-12);
        assert!((schedule.rate(60) - 0.55).abs() < 1e-12 && (schedule.rate(110) - 0.1).abs() < 1e-12);
        assert!((10..109).all(|s| schedule.rate(s + 1) < schedule.rate(s)));
    }

    #[test]
    fn it_walks_down_a_bowl_and_resumes_exactly() {
        let run = |pause: bool| -> Vec<f32> {
            let device = Device::Cpu;
            let mut vars = BTreeMap::new();
            vars.insert("a".to_owned(), Var::from_vec(vec![3.0f32, -2.0, 1.0, 5.0], (2, 2), &device).unwrap());
            vars.insert("b".to_owned(), Var::from_vec(vec![4.0f32], 1, &device).unwrap());
            let mut optimizer = Optimizer::new(&vars, AdamW::default(), |_| 1.0).unwrap();
            for step in 0..120 {
                if pause && step == 50 {
                    let (state, updates) = optimizer.state();
                    optimizer = Optimizer::new(&vars, AdamW::default(), |_| 1.0).unwrap();
                    optimizer.restore(state, updates, &device).unwrap();
                }
                let loss = (vars["a"].sqr().unwrap().sum_all().unwrap() + vars["b"].sqr().unwrap().sum_all().unwrap())
                    .unwrap();
                optimizer.step(&loss.backward().unwrap(), 0.1).unwrap();
            }
            let mut end = vars["a"].flatten_all().unwrap().to_vec1::<f32>().unwrap();
            end.extend(vars["b"].to_vec1::<f32>().unwrap());
            end
        };
        let straight = run(false);
        assert!(straight.iter().all(|x| x.abs() < 0.3), "{straight:?}");
        assert_eq!(straight, run(true));
    }
}
