//! Where a playback's sound goes: a device, nowhere, or to a test that decides when it is played. Knows nothing of clips.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::Shared;
use crate::media::clock::{Clock as _, ManualClock};
use crate::media::mixer::{CHANNELS, Mixer};
use crate::media::null_sink::NULL_RATE;

/// Where sound goes.
#[derive(Clone)]
pub enum Output {
    /// The default device; without one, nothing is heard and time goes on all the same.
    Device,
    /// Nothing is heard; time is the clock's.
    Null,
    /// Whoever holds the other end decides when samples are played: for tests.
    Manual(ManualOutput),
}

/// A sound device that plays when it is told to, and the clock that goes with it.
#[derive(Clone, Default)]
pub struct ManualOutput {
    mixer: Arc<Mutex<Option<Mixer>>>,
    /// Whoever keeps the ring full: such a device may be faster than any other.
    feeder: Arc<Mutex<Weak<Shared>>>,
    /// The clock, moved by what is played.
    pub clock: Arc<ManualClock>,
}

impl ManualOutput {
    /// Samples per second.
    pub const RATE: u32 = NULL_RATE;

    /// Names who keeps the ring full.
    pub(super) fn fed_by(&self, shared: &Arc<Shared>) {
        *self.feeder.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(shared);
    }

    /// Takes the mixer that it plays.
    pub(super) fn plug_in(&self, mixer: Mixer) {
        *self.mixer.lock().unwrap_or_else(PoisonError::into_inner) = Some(mixer);
    }

    /// Frames that are ready to be played; without end once the sound is whole or over.
    pub fn ready(&self) -> usize {
        self.mixer.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map_or(0, Mixer::ready)
    }

    /// Plays interleaved stereo into `out`, as a device's callback would, and moves the clock on by as much.
    pub fn pump(&self, out: &mut [f32]) {
        let mut mixer = self.mixer.lock().unwrap_or_else(PoisonError::into_inner);
        out.fill(0.0);
        if let Some(mixer) = mixer.as_mut() {
            mixer.fill(out, self.clock.now_secs());
        }
        self.clock.advance((out.len() / CHANNELS) as f64 / f64::from(Self::RATE));
        let feeder = self.feeder.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = feeder.upgrade() {
            shared.wake_sound.notify_all();
        }
    }
}
