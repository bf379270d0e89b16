//! `modalens probe`: what is in a media file.

use std::path::PathBuf;

use anyhow::Result;

use crate::cli::{Outcome, print_json};
use crate::media::Probe;

/// Arguments of `modalens probe`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file
    file: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<Outcome> {
    let probe = crate::media::probe(&args.file)?;
    if args.json {
        print_json(&probe)?;
    } else {
        print_text(&probe)?;
    }
    Ok(Outcome::Fine)
}

fn print_text(probe: &Probe) -> Result<()> {
    let length = probe.duration_secs.map_or("length unknown".into(), |s| format!("{s:.3} s"));
    say!("{}, {length}{}", probe.container, if probe.still { ", a still" } else { "" });
    if let Some(declared) = probe.declared_secs {
        say!("         it says {declared:.3} s: it is cut off, or its header is wrong");
    }
    if let Some(v) = &probe.video {
        let fps = v.fps.map_or("frame rate unknown".into(), |f| format!("{f:.3} frames/s"));
        let guess = if v.matrix_tagged { "" } else { " (by size)" };
        say!(
            "video    {} {}×{}, shown {}×{}, {fps}, {}, {}{guess} {} range, chroma {}",
            v.codec,
            v.width,
            v.height,
            v.display_width,
            v.display_height,
            v.pixel_format,
            v.matrix,
            v.range,
            v.chroma_siting
        );
        if v.interlaced {
            say!("         interlaced: deinterlaced when shown and sampled, one picture per frame");
        }
        match (v.mirrored, v.rotation_degrees) {
            (false, 0) => {}
            (mirrored, degrees) => {
                say!("         {}turned by {degrees} degrees when shown", if mirrored { "mirrored and " } else { "" });
            }
        }
        if let Some(hdr) = v.hdr {
            say!("         HDR ({hdr}): shown tone-mapped; the model gets it as it is stored, not tone-mapped");
        }
    }
    for a in &probe.audio {
        say!(
            "audio {}  {} {} Hz {}{}{}{}",
            a.track,
            a.codec,
            a.sample_rate,
            a.layout,
            a.language.as_ref().map(|l| format!(", {l}")).unwrap_or_default(),
            if a.default { ", default" } else { "" },
            if a.decodable { "" } else { ", cannot be decoded here" }
        );
    }
    Ok(())
}
