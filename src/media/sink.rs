//! The sound device: opens the default output and lets the mixer fill it. The only file that names cpal.
//! Knows nothing of what is played.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cpal::traits::{DeviceTrait, HostTrait, StreamTrait};
use cpal::{FromSample, SampleFormat, SizedSample, StreamConfig};

use super::clock::Clock;
use super::mixer::{CHANNELS, Mixer};

/// Stereo frames mixed at a time; the callback's own buffer, whatever the device asks for.
const BLOCK: usize = 1024;

/// The default output device, before anything is played.
pub(crate) struct Device {
    output: cpal::Device,
    config: StreamConfig,
    format: SampleFormat,
}

/// A running output; dropping it stops the sound and its thread.
pub(crate) struct DeviceStream {
    _stream: cpal::Stream,
    failed: Arc<AtomicBool>,
}

impl Device {
    /// The default output device, or why there is none.
    pub(crate) fn default_output() -> Result<Self, String> {
        silence_alsa();
        let device = cpal::default_host().default_output_device().ok_or("there is no sound device")?;
        let config = device.default_output_config().map_err(|e| e.to_string())?;
        let format = config.sample_format();
        let config: StreamConfig = config.into();
        if config.channels == 0 || config.sample_rate == 0 {
            return Err("the sound device offers no channels".to_owned());
        }
        Ok(Self { output: device, config, format })
    }

    /// Samples per second.
    pub(crate) fn rate(&self) -> u32 {
        self.config.sample_rate
    }

    /// Starts the device with `mixer` filling it.
    pub(crate) fn start(self, mixer: Mixer, clock: Arc<dyn Clock>) -> Result<DeviceStream, String> {
        match self.format {
            SampleFormat::F32 => self.run::<f32>(mixer, clock),
            SampleFormat::F64 => self.run::<f64>(mixer, clock),
            SampleFormat::I16 => self.run::<i16>(mixer, clock),
            SampleFormat::U16 => self.run::<u16>(mixer, clock),
            SampleFormat::I32 => self.run::<i32>(mixer, clock),
            SampleFormat::U8 => self.run::<u8>(mixer, clock),
            SampleFormat::I8 => self.run::<i8>(mixer, clock),
            other => Err(format!("the sound device wants {other} samples")),
        }
    }

    fn run<T: SizedSample + FromSample<f32>>(
        self,
        mut mixer: Mixer,
        clock: Arc<dyn Clock>,
    ) -> Result<DeviceStream, String> {
        let channels = usize::from(self.config.channels);
        let rate = f64::from(self.config.sample_rate);
        let failed = Arc::new(AtomicBool::new(false));
        let mut block = [0.0; BLOCK * CHANNELS];
        let fill = move |out: &mut [T], info: &cpal::OutputCallbackInfo| {
            let times = info.timestamp();
            let latency = times.playback.saturating_duration_since(times.callback).as_secs_f64();
            // A device that reports nonsense must not send the clock away.
            play(&mut mixer, &mut block, out, channels, rate, clock.now_secs() + latency.min(2.0));
        };
        let on_error = {
            let failed = Arc::clone(&failed);
            move |error: cpal::Error| match error.kind() {
                cpal::ErrorKind::Xrun | cpal::ErrorKind::DeviceChanged | cpal::ErrorKind::RealtimeDenied => {}
                _ => failed.store(true, Ordering::Release),
            }
        };
        let stream = self.output.build_output_stream(self.config, fill, on_error, None).map_err(|e| e.to_string())?;
        stream.play().map_err(|e| e.to_string())?;
        Ok(DeviceStream { _stream: stream, failed })
    }
}

impl DeviceStream {
    /// Whether the device went away.
    pub(crate) fn failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }
}

/// Keeps ALSA from writing to the terminal: a machine without a sound card is no reason for eight lines of complaint.
#[cfg(target_os = "linux")]
fn silence_alsa() {
    use std::ffi::{c_char, c_int};
    type Handler = unsafe extern "C" fn(*const c_char, c_int, *const c_char, c_int, *const c_char, ...);
    #[allow(unsafe_code, reason = "the library that cpal links has a handler for its messages that cpal leaves alone")]
    unsafe extern "C" {
        fn snd_lib_error_set_handler(handler: Option<Handler>) -> c_int;
    }
    extern "C" fn ignore(_: *const c_char, _: c_int, _: *const c_char, _: c_int, _: *const c_char) {}
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        #[allow(unsafe_code, reason = "see above")]
        // SAFETY: libasound is linked by cpal on Linux. The handler reads only its fixed arguments, which every Linux
        // calling convention passes to a variadic function as to any other; being never removed, it stays valid.
        unsafe {
            let handler: Handler =
                std::mem::transmute(ignore as extern "C" fn(*const c_char, c_int, *const c_char, c_int, *const c_char));
            snd_lib_error_set_handler(Some(handler));
        }
    });
}

#[cfg(not(target_os = "linux"))]
fn silence_alsa() {}

/// What the callback does: fills a device's interleaved `out` with what the mixer plays, `block` by `block`; its first
/// frame will be heard at `heard_at_secs` of the clock. Locks, allocates and waits as little as the mixer does.
fn play<T: SizedSample + FromSample<f32>>(
    mixer: &mut Mixer,
    block: &mut [f32; BLOCK * CHANNELS],
    out: &mut [T],
    channels: usize,
    rate: f64,
    mut heard_at_secs: f64,
) {
    for part in out.chunks_mut(BLOCK * channels) {
        let frames = part.len() / channels;
        let mixed = &mut block[..frames * CHANNELS];
        mixer.fill(mixed, heard_at_secs);
        heard_at_secs += frames as f64 / rate;
        for (to, from) in part.chunks_exact_mut(channels).zip(mixed.as_chunks::<CHANNELS>().0) {
            spread(to, *from);
        }
    }
}

/// Left and right onto the channels a device has: their mean on one, the rest silent beyond two.
fn spread<T: SizedSample + FromSample<f32>>(to: &mut [T], [left, right]: [f32; CHANNELS]) {
    match to {
        [one] => *one = T::from_sample(f32::midpoint(left, right)),
        [l, r, rest @ ..] => {
            *l = T::from_sample(left);
            *r = T::from_sample(right);
            rest.fill(T::EQUILIBRIUM);
        }
        [] => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::mixer::Segment;
    use super::super::transport::Transport;
    use super::*;

    const RATE: u32 = 48_000;
    const LEFT: f32 = 0.5;
    const RIGHT: f32 = -0.25;

    /// 2,500 frames of a device whose sound begins at 10 s of the clip: more than two blocks, and no whole number of them.
    fn played<T: SizedSample + FromSample<f32>>(channels: usize, foreign: T) -> Vec<Vec<T>> {
        let transport = Arc::new(Transport::new());
        transport.start();
        transport.picture_ready.store(u64::MAX, Ordering::Release);
        let (mut mixer, mut link) = Mixer::new(Arc::clone(&transport), RATE);
        let (mut ring, samples) = rtrb::RingBuffer::new(2 * 4_800);
        for _ in 0..4_800 {
            ring.push(LEFT).unwrap();
            ring.push(RIGHT).unwrap();
        }
        let complete = Arc::new(AtomicBool::new(true));
        let segment = Segment { samples, complete, base_secs: 10.0, seek: 1, keep_time: false, speed: 1.0 };
        assert!(link.send(segment).is_ok());
        let mut out = vec![foreign; 2_500 * channels];
        play(&mut mixer, &mut [0.0; BLOCK * CHANNELS], &mut out, channels, f64::from(RATE), 7.0);
        // The last frame is heard when the device said, and not a block later.
        let at = transport.position(1, 7.0 + 1_250.0 / f64::from(RATE)).unwrap();
        assert!(
            (at - 10.0 - 1_250.0 / f64::from(RATE)).abs() < 1e-9,
            "{at} s is heard half-way, on {channels} channels"
        );
        out.chunks(channels).map(<[T]>::to_vec).collect()
    }

    /// Checks every frame after the ramp at the beginning.
    fn check<T: SizedSample + FromSample<f32> + PartialEq + std::fmt::Debug>(
        foreign: T,
        [left, right, mean, rest]: [T; 4],
    ) {
        for (channels, wanted) in [
            (1, vec![mean]),
            (2, vec![left, right]),
            (3, vec![left, right, rest]),
            (6, vec![left, right, rest, rest, rest, rest]),
        ] {
            let frames = played(channels, foreign);
            assert_eq!(frames.len(), 2_500);
            let wrong = frames.iter().skip(240).position(|frame| *frame != wanted);
            assert_eq!(wrong, None, "{channels} channels of {}: {:?}", std::any::type_name::<T>(), frames.last());
            assert!(frames.iter().all(|frame| frame.get(2..).is_none_or(|f| f.iter().all(|s| *s == rest))));
        }
    }

    #[test]
    fn left_and_right_reach_every_kind_of_device() {
        check::<f32>(9.0, [LEFT, RIGHT, 0.125, 0.0]);
        check::<f64>(9.0, [0.5, -0.25, 0.125, 0.0]);
        check::<i16>(99, [16_384, -8_192, 4_096, 0]);
        check::<i32>(99, [1 << 30, -(1 << 29), 1 << 28, 0]);
        check::<u8>(9, [192, 96, 144, 128]);
        check::<i8>(9, [64, -32, 16, 0]);
        check::<u16>(9, [49_152, 24_576, 36_864, 32_768]);
    }
}
