//! Says what is in a file: container, duration, picture and sound, without decoding it all.
//! Knows nothing of how the answer is printed.

use std::path::Path;

use ffmpeg_next::{codec, decoder};
use serde::Serialize;

use super::ending::Ends;
use super::error::MediaError;
use super::picture::{Orientation, aspect, color_info};
use super::raw;
use super::reader::{VideoReader, orientation};
use super::source::{Source, positive, tick_secs};
use crate::frame::{ChromaSiting, MAX_PIXELS, Matrix, Planes, square_pixels};

/// What is in a file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Probe {
    /// The demuxer's name, such as `mov,mp4,m4a,3gp,3g2,mj2`.
    pub container: String,
    /// Length in seconds; `None` for a still, and at a [`glance`] where the file does not say.
    pub duration_secs: Option<f64>,
    /// Where its picture ends, in seconds: another sound is cut to it.
    pub picture_secs: Option<f64>,
    /// The length that the file says, in seconds, when it ends long before that: it is cut off, or its header lies.
    pub declared_secs: Option<f64>,
    /// Where the container's own time axis starts, in seconds: t = 0 everywhere else in this program.
    pub start_secs: f64,
    /// Whether it is one still image.
    pub still: bool,
    /// The picture, if there is one (cover art does not count).
    pub video: Option<VideoInfo>,
    /// The audio tracks, in the order in which they are numbered.
    pub audio: Vec<AudioInfo>,
    /// The number of the audio track that is played where none is named.
    pub played_track: Option<usize>,
}

/// A video stream.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VideoInfo {
    /// Codec name.
    pub codec: String,
    /// Width in samples, as coded.
    pub width: u32,
    /// Height in samples, as coded.
    pub height: u32,
    /// Width as shown: pixel aspect applied, then rotation.
    pub display_width: u32,
    /// Height as shown.
    pub display_height: u32,
    /// Clockwise rotation to apply when shown, in degrees.
    pub rotation_degrees: u16,
    /// Whether left and right change places when shown, before the rotation.
    pub mirrored: bool,
    /// Whether the stream says that it is interlaced; such frames are deinterlaced, one picture per frame.
    pub interlaced: bool,
    /// Sample width ÷ sample height.
    pub pixel_aspect: f64,
    /// Average frames per second, if known.
    pub fps: Option<f64>,
    /// Pixel format name.
    pub pixel_format: String,
    /// Bits per sample.
    pub bit_depth: u8,
    /// The matrix that will be used: `bt601`, `bt709` or `bt2020`.
    pub matrix: &'static str,
    /// Whether the file names its matrix; otherwise it is a guess by size.
    pub matrix_tagged: bool,
    /// `full` or `limited`.
    pub range: &'static str,
    /// Chroma sample position that will be used: `left`, `center` or `top_left`.
    pub chroma_siting: &'static str,
    /// Colour primaries, if tagged.
    pub primaries: Option<String>,
    /// Transfer characteristic, if tagged.
    pub transfer: Option<String>,
    /// `PQ` or `HLG` when the picture is HDR. It is then shown tone-mapped; the model gets its colours as they are stored.
    pub hdr: Option<&'static str>,
    /// Number of frames, if the container says.
    pub frames: Option<u64>,
    /// Start of this stream in seconds from the container's start.
    pub start_secs: f64,
    /// Length of this stream in seconds, if known.
    pub duration_secs: Option<f64>,
}

/// An audio track.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AudioInfo {
    /// Its number, 0-based among audio tracks.
    pub track: usize,
    /// Codec name.
    pub codec: String,
    /// Samples per second.
    pub sample_rate: u32,
    /// Channels.
    pub channels: u16,
    /// Their layout: `mono`, `stereo`, `5.1`, … or the number of channels.
    pub layout: String,
    /// Language tag, if any.
    pub language: Option<String>,
    /// Whether the container marks it as the default.
    pub default: bool,
    /// Whether this FFmpeg can decode it.
    pub decodable: bool,
    /// Start of this track in seconds from the container's start.
    pub start_secs: f64,
    /// Length of this track in seconds, if known.
    pub duration_secs: Option<f64>,
}

/// Reads what is in the file at `path`; all of it where it does not say how long it is.
///
/// # Errors
/// When the file is missing, empty, foreign, damaged, too large or without picture and sound.
pub fn probe(path: &Path) -> Result<Probe, MediaError> {
    probe_unless(path, &|| false)
}

/// [`probe`], given up as soon as `cancel` says so.
///
/// # Errors
/// As for [`probe`], and [`MediaError::Cancelled`].
pub fn probe_unless(path: &Path, cancel: &dyn Fn() -> bool) -> Result<Probe, MediaError> {
    read(path, Some(cancel))
}

/// [`probe`] without reading all of a file that does not say how long it is.
///
/// # Errors
/// As for [`probe`].
pub fn glance(path: &Path) -> Result<Probe, MediaError> {
    read(path, None)
}

fn read(path: &Path, cancel: Option<&dyn Fn() -> bool>) -> Result<Probe, MediaError> {
    let mut source = Source::open(path)?;
    let video = source.video_stream().map(|s| video_info(&source, &s)).transpose()?;
    let audio: Vec<_> = source.audio_streams().enumerate().map(|(i, s)| audio_info(&source, i, &s)).collect();
    if video.is_none() && audio.is_empty() {
        return Err(MediaError::NoStream(path.to_owned()));
    }
    let still = source.is_still();
    let Ends { whole_secs, picture_secs, declared_secs } = match cancel {
        None => Ends::of(&mut source),
        Some(cancel) => Ends::counted(&mut source, cancel)?,
    };
    let played_track = source.audio_stream(None).ok().map(|best| best.index());
    let played_track = played_track.and_then(|best| source.audio_streams().position(|s| s.index() == best));
    Ok(Probe {
        container: source.input().format().name().to_owned(),
        duration_secs: whole_secs,
        picture_secs,
        declared_secs,
        start_secs: source.start_secs(),
        still,
        video,
        audio,
        played_track,
    })
}

fn video_info(source: &Source, stream: &ffmpeg_next::Stream<'_>) -> Result<VideoInfo, MediaError> {
    let header = raw::video_header(stream);
    let (width, height) = (header.width, header.height);
    let path = || source.path().to_owned();
    if width == 0 || height == 0 {
        return Err(MediaError::NothingDecoded { path: path(), detail: "the picture has no size".to_owned() });
    }
    if u64::from(width) * u64::from(height) > u64::from(MAX_PIXELS) {
        return Err(MediaError::TooLarge { path: path(), width, height, limit: MAX_PIXELS / 1_000_000 });
    }
    let color = color_info(header.format, [width, height], header.space, header.range, header.siting);
    let (num, den) = header.sample_aspect;
    let pixel_aspect = aspect(ffmpeg_next::Rational::new(num, den)).unwrap_or(1.0);
    let Orientation { mirrored, degrees: rotation_degrees } = if source.is_still() {
        // A photograph's orientation is known once it is decoded. One that cannot be is still named.
        let frame = Source::open(source.path()).and_then(VideoReader::of).and_then(|mut r| r.next_frame());
        let turned = |f: &dyn Planes| Orientation { mirrored: f.mirrored(), degrees: f.rotation_degrees() };
        frame.ok().flatten().map_or_else(Orientation::default, |f| turned(&f))
    } else {
        orientation(stream)
    };
    let [shown_width, shown_height] = square_pixels([width, height], pixel_aspect);
    let turned = rotation_degrees % 180 == 90;
    let named = |name: Option<&'static str>| name.filter(|n| *n != "unknown").map(str::to_owned);
    let (start_secs, duration_secs) = span(source, stream);
    Ok(VideoInfo {
        codec: stream.parameters().id().name().to_owned(),
        width,
        height,
        display_width: if turned { shown_height } else { shown_width },
        display_height: if turned { shown_width } else { shown_height },
        rotation_degrees,
        mirrored,
        interlaced: header.interlaced,
        pixel_aspect,
        fps: positive(stream.avg_frame_rate()).or_else(|| positive(stream.rate())),
        pixel_format: raw::format_name(header.format).to_owned(),
        bit_depth: raw::bit_depth(header.format),
        matrix: match color.matrix {
            Matrix::Bt601 => "bt601",
            Matrix::Bt709 => "bt709",
            Matrix::Bt2020 => "bt2020",
        },
        matrix_tagged: header.space != ffmpeg_next::color::Space::Unspecified,
        range: if color.full_range { "full" } else { "limited" },
        chroma_siting: match color.siting {
            ChromaSiting::Left => "left",
            ChromaSiting::Center => "center",
            ChromaSiting::TopLeft => "top_left",
        },
        primaries: named(header.primaries.name()),
        transfer: named(header.transfer.name()),
        hdr: raw::hdr_name(header.transfer),
        frames: u64::try_from(stream.frames()).ok().filter(|n| *n > 0),
        start_secs,
        duration_secs,
    })
}

fn audio_info(source: &Source, track: usize, stream: &ffmpeg_next::Stream<'_>) -> AudioInfo {
    let parameters = stream.parameters();
    let id = parameters.id();
    // The bindings show rate and channels only on a decoder; opening one also tells whether there is one.
    let opened = decoder::find(id).and_then(|codec| {
        let context = codec::Context::from_parameters(parameters).ok()?;
        context.decoder().open_as(codec).ok()?.audio().ok()
    });
    let (sample_rate, channels) = opened.as_ref().map_or((0, 0), |d| (d.rate(), d.channels()));
    let (start_secs, duration_secs) = span(source, stream);
    AudioInfo {
        track,
        codec: id.name().to_owned(),
        sample_rate,
        channels,
        layout: layout_name(channels),
        language: stream.metadata().get("language").filter(|l| *l != "und").map(str::to_owned),
        default: stream.disposition().contains(ffmpeg_next::format::stream::Disposition::DEFAULT),
        decodable: opened.is_some() && sample_rate > 0 && channels > 0,
        start_secs,
        duration_secs,
    }
}

/// Start (from the container's start) and length of a stream, in seconds.
fn span(source: &Source, stream: &ffmpeg_next::Stream<'_>) -> (f64, Option<f64>) {
    let tick = tick_secs(stream.time_base());
    let start = raw::known(stream.start_time()).map_or(0.0, |t| t as f64 * tick - source.start_secs());
    let duration = raw::known(stream.duration()).filter(|d| *d > 0).map(|d| d as f64 * tick);
    (start, duration)
}

fn layout_name(channels: u16) -> String {
    match channels {
        1 => "mono".to_owned(),
        2 => "stereo".to_owned(),
        6 => "5.1".to_owned(),
        8 => "7.1".to_owned(),
        n => format!("{n} channels"),
    }
}
