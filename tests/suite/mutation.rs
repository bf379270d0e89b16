//! Damaged files: thousands of broken variants of tiny files through probe, decoding, seeking and sampling, in child
//! processes that are watched. 200 variants by default; `MODALENS_SOAK=5000` (as `make soak` sets it) tries more.
//! Variant N is the same everywhere: `MODALENS_MUTANT=N` runs that one alone.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use modalens::clip::ClipSpec;
use modalens::frame::Planes;
use modalens::media::{self, AudioReader, MediaError, VideoReader};

use crate::bounds::{peak_mib, reset_peak};
use crate::media::{Clips, all_frames, digest, sample};

/// Variants in `make test`.
const VARIANTS: usize = 200;
/// A step (opening, a seek, a sample) that takes longer hangs: each takes milliseconds.
const HANG: Duration = Duration::from_secs(5);
/// Resident memory that no variant may pass.
const MOST_MIB: usize = 1024;

/// Names in files after which sizes, durations, dimensions and counts stand.
const TAGS: &[&[u8]] = &[
    b"mvhd",
    b"tkhd",
    b"mdhd",
    b"elst",
    b"stsd",
    b"stts",
    b"ctts",
    b"stsz",
    b"stsc",
    b"stco",
    b"avc1",
    b"mp4a",
    b"moov",
    b"trak",
    b"avih",
    b"strh",
    b"strf",
    b"idx1",
    b"movi",
    b"LIST",
    b"RIFF",
    b"fmt ",
    b"data",
    b"fLaC",
    b"OggS",
    b"IHDR",
    b"IDAT",
    b"acTL",
    b"fcTL",
    b"GIF8",
    b"DKIF",
    b"FLV",
    b"YUV4",
    b"nm@",
    b"COMM",
    b"SSND",
    b"desc",
    b"\x44\x89",
    b"\xb0\x82",
    b"\xba\x82",
    b"\x23\xe3\x83",
    b"\x1f\x43\xb6\x75",
    b"\x15\x49\xa9\x66",
    b"\xff\xc0",
    b"\xff\xda",
    b"\0\0\x01\xb3",
    b"\0\0\x01\xba",
];

/// A small deterministic generator (xorshift), so that a variant's number is all that is needed to have it again.
struct Random(u64);

impl Random {
    fn new(seed: usize) -> Self {
        let mut random = Self((seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..8 {
            random.below(2);
        }
        random
    }

    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end.max(1)
    }
}

/// Damages a file's bytes.
fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    let length = bytes.len();
    match random.below(7) {
        // Cut off.
        0 => bytes.truncate(random.below(length)),
        // Bits flipped anywhere.
        1 => (0..=random.below(40)).for_each(|_| {
            let at = random.below(length);
            bytes[at] ^= 1 << random.below(8);
        }),
        // Headers that lie: extreme numbers near the front.
        2 => (0..4).for_each(|_| {
            let at = random.below(length.min(600).saturating_sub(8));
            lie(bytes, at, random);
        }),
        // A part missing.
        3 => {
            let at = random.below(length);
            let end = (at + random.below(2000)).min(length);
            bytes.drain(at..end);
        }
        // A part twice.
        4 => {
            let at = random.below(length);
            let end = (at + random.below(2000)).min(length);
            let part = bytes[at..end].to_vec();
            let to = random.below(length);
            bytes.splice(to..to, part);
        }
        // Noise in the middle.
        5 => {
            let at = random.below(length);
            let end = (at + random.below(300)).min(length);
            bytes[at..end].iter_mut().for_each(|b| *b = random.below(256) as u8);
        }
        // Sizes, durations and dimensions, found by their names, that lie.
        _ => {
            let found: Vec<usize> = TAGS
                .iter()
                .flat_map(|t| bytes.windows(t.len()).enumerate().filter(move |w| w.1 == *t).map(|w| w.0))
                .collect();
            for _ in 0..=random.below(2) {
                let tag = found.get(random.below(found.len())).copied().unwrap_or_default();
                // Also the size before the name.
                let at = (tag + random.below(60)).saturating_sub(4);
                lie(bytes, at, random);
            }
        }
    }
}

/// Puts a number at `at` that is not true.
fn lie(bytes: &mut [u8], at: usize, random: &mut Random) {
    const LIES: [&[u8]; 8] = [
        &[0xff; 8],
        &[0x7f, 0xff, 0xff, 0xff],
        &[0; 8],
        &[0xff, 0xff, 0xff, 0x7f],
        &[0x80, 0, 0, 0],
        &[0xff, 0xff],
        &[0x20, 0, 0x20, 0],
        &[1],
    ];
    let lie = LIES[random.below(LIES.len())];
    for (to, from) in bytes.iter_mut().skip(at).zip(lie) {
        *to = *from;
    }
}

/// Tiny files in every common container.
fn sources(clips: &Clips) -> Vec<PathBuf> {
    let small = "-f lavfi -i testsrc2=size=64x48:rate=10:duration=1";
    let tone = "-f lavfi -i sine=frequency=440:sample_rate=16000:duration=1";
    let still = "-f lavfi -i testsrc2=size=64x48 -frames:v 1";
    let x264 = "-c:v libx264 -bf 2 -g 5";
    vec![
        clips.make("a.mp4", &format!("{small} {tone} {x264} -c:a aac")),
        clips.make("fragments.mp4", &format!("{small} {tone} {x264} -c:a aac -movflags frag_keyframe+empty_moov")),
        clips.make("front.mov", &format!("{small} {tone} {x264} -c:a pcm_s16le -movflags faststart")),
        clips.make("woven.mp4", "-f lavfi -i testsrc2=size=64x48:rate=20:duration=1 -vf tinterlace=interleave_top -c:v libx264 -flags +ildct+ilme -g 5"),
        clips.make("b.mkv", &format!("{small} {tone} -c:v mpeg4 -g 5 -c:a flac")),
        clips.make("deep.mkv", &format!("{small} -c:v ffv1 -pix_fmt yuv422p10le")),
        clips.make("c.webm", &format!("{small} {tone} -c:v libvpx -deadline realtime -c:a libopus")),
        clips.make("nine.webm", &format!("{small} -c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 5")),
        clips.make("d.avi", &format!("{small} {tone} -c:v mjpeg -c:a pcm_s16le")),
        clips.make("e.ts", &format!("{small} {tone} -c:v mpeg2video -c:a mp2")),
        clips.make("e.mpg", &format!("{small} {tone} -r 25 -c:v mpeg2video -c:a ac3 -ar 48000 -f vob")),
        clips.make("f.gif", small),
        clips.make("f.apng", &format!("{small} -f apng")),
        clips.make("f.flv", &format!("{small} {tone} -c:v flv -c:a libmp3lame -ar 44100")),
        clips.make("f.y4m", "-f lavfi -i testsrc2=size=32x24:rate=10:duration=0.3 -pix_fmt yuv420p"),
        clips.make("raw.h264", &format!("{small} {x264} -f h264")),
        clips.make("t.ogv", &format!("{small} {tone} -c:v libtheora -g 5 -c:a libvorbis")),
        clips.make("g.ogg", &format!("{tone} -c:a libvorbis")),
        clips.make("h.mp3", &format!("{tone} -c:a libmp3lame")),
        clips.make("i.png", still),
        clips.make("i.jpg", still),
        clips.make("i.bmp", still),
        clips.make("i.webp", &format!("{still} -c:v libwebp")),
        clips.make("i.tiff", still),
        clips.make("j.wav", tone),
        clips.make("j.flac", tone),
        clips.make("j.aiff", tone),
        clips.make("j.m4a", &format!("{tone} -c:a aac")),
    ]
}

/// Everything that opens a file, saying what comes next before each step. Whether it could be opened.
fn use_file(path: &Path, next: &dyn Fn(String)) -> bool {
    let line = |e: MediaError| assert!(!e.to_string().contains('\n'), "{e}");
    next("probe".into());
    let opened = media::probe(path).map_err(line).is_ok();
    next("open the picture".into());
    if let Ok(mut reader) = VideoReader::open(path).map_err(line) {
        next("decode".into());
        let mut count = 0;
        while count < 60 && matches!(reader.next_frame(), Ok(Some(_))) {
            count += 1;
        }
        for t in [0.5, 0.0, 0.9, 1e9, -3.0, 0.31] {
            next(format!("seek to {t}"));
            let _ = reader.seek(t).and_then(|()| reader.next_frame()).map_err(line);
        }
    }
    next("open the sound".into());
    if let Ok(mut reader) = AudioReader::open(path, None, 48_000, 2).map_err(line) {
        for t in [0.4, 0.0, 1e6] {
            next(format!("hear from {t}"));
            let _ = reader.seek(t).map_err(line);
            let mut count = 0;
            while count < 20 && matches!(reader.next_chunk(), Ok(Some(_))) {
                count += 1;
            }
        }
    }
    next("sample".into());
    let _ = sample(&ClipSpec::original(path), 2.0).map_err(line);
    opened
}

/// Processor time of this process; `None` where the system does not say.
fn cpu() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    // User and system time in hundredths of a second.
    let ticks: u64 = fields.get(11..13)?.iter().filter_map(|f| f.parse::<u64>().ok()).sum();
    Some(Duration::from_millis(ticks * 10))
}

/// What a worker says: the next step, or its end.
enum Report {
    Step(String),
    Done(bool),
}

/// Runs [`use_file`] on a thread that is watched. Whether the file could be opened, or what went wrong.
fn watched(path: PathBuf) -> Result<bool, String> {
    let (say, reports) = mpsc::channel();
    let worker = std::thread::spawn(move || {
        let opened = use_file(&path, &|step| drop(say.send(Report::Step(step))));
        drop(say.send(Report::Done(opened)));
    });
    let (mut step, mut since, mut waited) = (String::new(), cpu(), Duration::ZERO);
    loop {
        match reports.recv_timeout(HANG) {
            Ok(Report::Done(opened)) => {
                let _ = worker.join();
                return Ok(opened);
            }
            Ok(Report::Step(next)) => (step, since, waited) = (next, cpu(), Duration::ZERO),
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                let panic = worker.join().unwrap_err();
                return Err(format!("{step}: panics: {:?}", panic.downcast_ref::<String>()));
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                // A machine that is busy with other things is given longer: what counts is the time spent on this.
                waited += HANG;
                let spent = cpu().zip(since).map_or(waited, |(now, then)| now.saturating_sub(then));
                if spent >= HANG || waited >= HANG * 12 {
                    return Err(format!("{step}: hangs"));
                }
            }
        }
    }
}

/// The child: every `of`-th variant from `first` on.
fn child(folder: &Path, first: usize, of: usize, count: usize) {
    let mut sources: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_file()).collect();
    sources.sort();
    let scratch = tempfile::tempdir().unwrap();
    let (mut tried, mut opened) = (0, 0);
    for variant in (first..count).step_by(of) {
        let source = sources[variant % sources.len()].clone();
        let mut bytes = std::fs::read(&source).unwrap();
        let mut random = Random::new(variant);
        mutate(&mut bytes, &mut random);
        let name = format!("variant {variant} of {}", source.file_name().unwrap().to_string_lossy());
        let path = scratch.path().join("variant").with_extension(source.extension().unwrap());
        std::fs::write(&path, &bytes).unwrap();
        // A crash takes this process with it: the parent then reads here whose fault it was.
        std::fs::write(folder.join(format!("at/{first}")), &name).unwrap();
        reset_peak();
        match watched(path) {
            Ok(fine) => opened += usize::from(fine),
            Err(problem) => {
                // A thread that hangs cannot be stopped, and a panic would wait for it: end here.
                eprintln!("{name}: {problem}");
                std::process::exit(99);
            }
        }
        tried += 1;
        if let Some(peak) = peak_mib() {
            assert!(peak < MOST_MIB, "{name}: {peak} MiB");
        }
    }
    std::fs::write(folder.join(format!("at/{first}.done")), format!("{tried} {opened}")).unwrap();
}

#[test]
fn damaged_files_neither_crash_nor_hang_nor_eat_memory() {
    let marker = "MODALENS_TEST_MUTATIONS";
    if let Ok(task) = std::env::var(marker) {
        let mut parts = task.splitn(4, ' ');
        let mut number = || parts.next().unwrap().parse().unwrap();
        let (first, of, count) = (number(), number(), number());
        child(Path::new(parts.next().unwrap()), first, of, count);
        return;
    }
    let clips = Clips::new();
    sources(&clips);
    std::fs::create_dir(clips.path("at")).unwrap();
    let number = |name: &str| std::env::var(name).ok().map(|n| n.parse::<usize>().unwrap());
    let count = number("MODALENS_SOAK").unwrap_or(VARIANTS);
    let tasks: Vec<(usize, usize, usize)> = match number("MODALENS_MUTANT") {
        Some(one) => vec![(one, usize::MAX, one + 1)],
        None => (0..2).map(|first| (first, 2, count)).collect(),
    };
    let start = |(first, of, count): &(usize, usize, usize)| -> Child {
        // A ceiling on address space, where the shell can set one: a variant that runs away fails, and not the machine.
        Command::new("sh")
            .args(["-c", "ulimit -v 6291456 2>/dev/null; exec \"$0\" \"$@\""])
            .arg(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "mutation::damaged_files_neither_crash_nor_hang_nor_eat_memory",
                "--test-threads=1",
                "--nocapture",
            ])
            .env(marker, format!("{first} {of} {count} {}", clips.path("").display()))
            .env("RUST_BACKTRACE", "0")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let children: Vec<Child> = tasks.iter().map(start).collect();
    let (mut tried, mut opened) = (0, 0);
    for (task, child) in tasks.iter().zip(children) {
        let out = child.wait_with_output().unwrap();
        let at = std::fs::read_to_string(clips.path(&format!("at/{}", task.0))).unwrap_or_default();
        assert!(out.status.success(), "{at}: {}\n{}", out.status, String::from_utf8_lossy(&out.stderr));
        let done = std::fs::read_to_string(clips.path(&format!("at/{}.done", task.0))).unwrap();
        let (t, o) = done.split_once(' ').unwrap();
        tried += t.parse::<usize>().unwrap();
        opened += o.parse::<usize>().unwrap();
    }
    eprintln!("{tried} damaged files, of which {opened} could still be opened");
    assert!(
        tasks.len() == 1 || (tried == count && opened > tried / 3),
        "{opened} of {tried}: the test tests too little"
    );
}

/// Recorded clips, where the folder with them is beside the project: whole, exact, and sampled.
#[test]
fn real_clips_are_read_whole() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/media");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        eprintln!("skipped: no real clips were read: there is no folder {}", folder.display());
        return;
    };
    for path in entries.map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "mp4")) {
        let probe = media::probe(&path).unwrap();
        assert_eq!(probe.declared_secs, None, "{}", path.display());
        let frames = all_frames(&path);
        let video = probe.video.unwrap();
        assert_eq!(video.frames.unwrap_or(frames.len() as u64), frames.len() as u64, "{}", path.display());
        let mut reader = VideoReader::open(&path).unwrap();
        for i in [9, 2, 7, 0, 5] {
            let at = frames.len() * i / 10;
            reader.seek(frames[at].0).unwrap();
            let got = reader.next_frame().unwrap().unwrap();
            assert_eq!((got.pts_secs(), digest(&got)), frames[at], "{} frame {at}", path.display());
        }
        let (clip, notes) = sample(&ClipSpec::original(&path), 2.0).unwrap();
        assert!(notes.is_empty(), "{}: {notes:?}", path.display());
        let (video, audio) = (clip.video.unwrap(), clip.audio.unwrap());
        assert!(video.frames.len() >= 4 && audio.samples.len() > 16_000, "{}", path.display());
    }
}
