//! What can go wrong between a file and its frames or samples: one line each, naming the file and the way out.
//! Knows nothing of who shows the message.

use std::path::{Path, PathBuf};

/// A media error. Its text is one line, made to be shown as it is.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// The path leads nowhere.
    #[error("there is no such file; check the path: {}", .0.display())]
    Missing(PathBuf),
    /// The path is a folder.
    #[error("this is a folder, not a media file; name a file in it: {}", .0.display())]
    Directory(PathBuf),
    /// The path is neither a file nor a folder.
    #[error("this is not a regular file (a device, pipe or socket); copy it to a file first: {}", .0.display())]
    NotAFile(PathBuf),
    /// The file has no bytes.
    #[error("the file is empty; copy or download it again: {}", .0.display())]
    Empty(PathBuf),
    /// The operating system refused.
    #[error("the file cannot be read ({detail}): {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        detail: String,
    },
    /// No demuxer recognises the content.
    #[error("this is not audio, video or an image that can be opened ({detail}); convert it with ffmpeg first: {}", path.display())]
    NotMedia {
        /// The file.
        path: PathBuf,
        /// What the demuxer said.
        detail: String,
    },
    /// The format is one that can name other files or addresses, or is otherwise left out on purpose.
    #[error("playlists, subtitles and formats that point to other files are not opened; open the media file itself: {}", .0.display())]
    NotAllowed(PathBuf),
    /// The file ends before its index.
    #[error("the file was cut off before its index was written, so nothing of it can be played; get it again, or repair the recording with a tool for that: {}", .0.display())]
    CutOff(PathBuf),
    /// Nothing in the file can be shown or heard.
    #[error("there is neither picture nor sound that can be decoded in it; try another file: {}", .0.display())]
    NoStream(PathBuf),
    /// A picture was asked for.
    #[error("there is no picture in it; give a video or an image: {}", .0.display())]
    NoVideo(PathBuf),
    /// Sound was asked for.
    #[error("there is no sound in it; give a file with an audio track: {}", .0.display())]
    NoAudio(PathBuf),
    /// An audio track number that the file does not have.
    #[error("there is no audio track {track} (it has {count}, counted from 0); choose another: {}", path.display())]
    NoSuchTrack {
        /// The file.
        path: PathBuf,
        /// The track asked for, 0-based among audio tracks.
        track: usize,
        /// How many audio tracks there are.
        count: usize,
    },
    /// This build of FFmpeg has no decoder for the stream.
    #[error("this FFmpeg has no decoder for {codec}; convert the file to H.264 and AAC: {}", path.display())]
    NoDecoder {
        /// The file.
        path: PathBuf,
        /// The codec's name.
        codec: String,
    },
    /// The stream has no decodable frame or sample.
    #[error("not one frame of it can be decoded ({detail}); get a fresh copy if it is damaged or cut off, convert it with ffmpeg if it plays elsewhere: {}", path.display())]
    NothingDecoded {
        /// The file.
        path: PathBuf,
        /// The decoder's last words.
        detail: String,
    },
    /// Decoding failed on the way.
    #[error("decoding failed ({detail}); the file is damaged: {}", path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// The decoder's last words.
        detail: String,
    },
    /// A picture beyond the limits of this program.
    #[error("the picture is {width}×{height}, more than the {limit} million pixels this program takes; scale it down first: {}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Width in samples.
        width: u32,
        /// Height in samples.
        height: u32,
        /// The limit, in millions of pixels.
        limit: u32,
    },
    /// More sampled pixels than fit in memory.
    #[error("the sampled frames would take {gib:.1} GiB; choose a shorter part or fewer frames per second: {}", path.display())]
    TooManyPixels {
        /// The file.
        path: PathBuf,
        /// Memory the frames would take.
        gib: f64,
    },
    /// A range with nothing in it.
    #[error("there is nothing {} (the clip is {duration_secs:.3} s long); choose another part: {}", part(*start_secs, *end_secs), path.display())]
    EmptyRange {
        /// The file.
        path: PathBuf,
        /// Start asked for, in seconds.
        start_secs: f64,
        /// End asked for, in seconds; infinite where none was.
        end_secs: f64,
        /// The clip's length, in seconds.
        duration_secs: f64,
    },
    /// A clip without picture and sound was to be played or encoded.
    #[error("the clip has neither picture nor sound; choose a file")]
    EmptyClip,
    /// Noise and silence have no length of their own.
    #[error("noise and silence fill a video's length; give a video, or an end")]
    NoLength,
    /// Parameters an encoder cannot take.
    #[error("cannot write this video ({detail}): {}", path.display())]
    BadOutput {
        /// The output file.
        path: PathBuf,
        /// What is wrong and what would be right.
        detail: String,
    },
    /// This build of FFmpeg has no encoder for what the file needs.
    #[error("this FFmpeg has none of the encoders that would do ({wanted}); install an FFmpeg that has one, or choose another kind of file: {}", path.display())]
    NoEncoder {
        /// The output file.
        path: PathBuf,
        /// The encoders that were looked for.
        wanted: String,
    },
    /// Encoding or writing failed; nothing is left behind.
    #[error("writing failed ({detail}); nothing was left behind: {}", path.display())]
    Encode {
        /// The output file.
        path: PathBuf,
        /// The encoder's or the system's words.
        detail: String,
    },
    /// FFmpeg ran out of a resource that has nothing to do with the file.
    #[error("FFmpeg could not be used ({0}); free some memory and try again")]
    Library(String),
    /// Whoever takes the frames does not want so many, or none like these.
    #[error(transparent)]
    Refused(Box<dyn std::error::Error + Send + Sync>),
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
}

/// A part of a clip in words.
fn part(start_secs: f64, end_secs: f64) -> String {
    if end_secs.is_finite() {
        format!("between {start_secs:.3} s and {end_secs:.3} s")
    } else {
        format!("from {start_secs:.3} s on")
    }
}

impl MediaError {
    pub(crate) fn io(path: &Path, error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::NotFound => Self::Missing(path.to_owned()),
            std::io::ErrorKind::IsADirectory => Self::Directory(path.to_owned()),
            _ => Self::Io { path: path.to_owned(), detail: error.to_string() },
        }
    }
}
