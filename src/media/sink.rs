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
            let mut heard_at = clock.now_secs() + latency.min(2.0);
            for part in out.chunks_mut(BLOCK * channels) {
                let frames = part.len() / channels;
                let mixed = &mut block[..frames * CHANNELS];
                mixer.fill(mixed, heard_at);
                heard_at += frames as f64 / rate;
                for (to, from) in part.chunks_exact_mut(channels).zip(mixed.as_chunks::<CHANNELS>().0) {
                    spread(to, *from);
                }
            }
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
