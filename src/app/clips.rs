//! Which file is played and whose sound: opening, swapping, going on where a clip was left. Knows nothing of how files are
//! looked into or played.

use std::path::PathBuf;

use super::{App, workers};
use crate::clip::{AudioSource, ClipSpec};
use crate::command::Command;
use crate::event::{Event, FileFacts, FileUse};
use crate::media::Playback;
use crate::settings::Sampling;
use crate::state::{Media, file_name};
use crate::ui;

impl App {
    /// Has files looked into.
    pub(super) fn look_into(&mut self, purpose: FileUse, paths: Vec<PathBuf>) {
        if !self.files.look_into(purpose, paths) {
            self.state.notice(true, workers::BUSY.to_owned());
        }
    }

    /// Does with a file what it was looked into for.
    pub(super) fn use_file(&mut self, purpose: FileUse, facts: FileFacts) {
        let swaps = facts.sound && !facts.picture && self.state.clip.video.is_some();
        match purpose {
            FileUse::Model => {
                let id = facts.path.display().to_string();
                self.load_folder(id, facts.path);
            }
            FileUse::Sound if !facts.sound => {
                self.state.notice(true, format!("{} has no sound to take.", file_name(&facts.path)));
            }
            // Where there is no clip yet, it is one.
            FileUse::Sound if self.state.clip.file().is_none() => self.open(facts),
            FileUse::Sound => self.swap(facts),
            FileUse::ByContent if swaps => self.swap(facts),
            FileUse::ByContent | FileUse::Clip => self.open(facts),
        }
    }

    /// Takes another file's sound in the place of the clip's.
    fn swap(&mut self, facts: FileFacts) {
        self.state.sound_tracks.insert(facts.path.clone(), facts.tracks);
        self.perform(&Command::SetAudio(AudioSource::File { path: facts.path, track: None }));
    }

    /// Plays a file in the place of the one there is.
    fn open(&mut self, facts: FileFacts) {
        let path = facts.path.clone();
        let clip = match (facts.picture, facts.sound) {
            (true, true) => ClipSpec::original(path),
            (true, false) => ClipSpec { video: Some(path), ..ClipSpec::default() },
            (false, _) => ClipSpec { audio: AudioSource::File { path, track: None }, ..ClipSpec::default() },
        };
        if let Some(engine) = &self.engine {
            engine.cancel();
        }
        self.leave();
        let clip_id = self.state.begin_clip(clip.clone(), facts);
        let old = self.player.take();
        // Joining its threads can wait for a frame being decoded: not here.
        let dropper = std::thread::Builder::new().name("close clip".into()).spawn(move || drop(old));
        if let Err(e) = dropper {
            log::warn!("the old clip was closed on the interface's thread: {e}");
        }
        let notify = workers::media_events(clip_id, self.notify());
        match Playback::start_on(clip, Sampling::default(), self.output.clone(), notify) {
            Ok(player) => {
                player.set_speed(self.state.playback.chosen_speed);
                player.set_volume(self.state.playback.volume);
                player.set_muted(self.state.playback.muted);
                self.player = Some(player);
            }
            Err(e) => self.apply(Event::ClipFailed { clip_id, message: e.to_string() }),
        }
        self.read_sound();
        if let Some(path) = self.state.clip.file() {
            self.places.ask(clip_id, path.to_owned(), self.notify());
        }
    }

    /// Goes on where a long clip was left, unless it was gone elsewhere meanwhile.
    pub(super) fn resume(&mut self, clip_id: u64, at_secs: f64) {
        let Some(player) = self.player.as_ref().filter(|_| clip_id == self.state.clip_id) else { return };
        if self.state.media == Media::Opening {
            self.left_at = Some((clip_id, at_secs));
            return;
        }
        if matches!(self.state.media, Media::Open { .. }) && player.position_secs() < 1.0 {
            player.seek(at_secs);
            let left = ui::player::whole_clock(at_secs);
            self.state.notice(false, format!("Goes on where you left it, at {left}. Home: the start."));
        }
    }

    /// Remembers where the clip is left.
    pub(super) fn leave(&mut self) {
        if let (Some(path), Some(player), Media::Open { .. }) = (self.state.clip.file(), &self.player, self.state.media)
        {
            self.places.leave(path.to_owned(), player.position_secs(), self.state.duration_secs());
        }
    }

    /// Has the sound's lanes made anew.
    pub(super) fn read_sound(&mut self) {
        let notify = self.notify();
        self.sounds.want(self.state.sound_id, self.state.clip.clone(), notify);
    }
}
