//! What commands ask of the player. Knows nothing of panels.

use crate::command::Command;
use crate::media::Playback;
use crate::state::State;

/// How much louder or quieter a key press makes it.
const VOLUME_STEP: f32 = 0.05;

/// Carries out a command before the state takes note of it.
pub(super) fn before(player: &Playback, state: &State, command: &Command) {
    let halt = || {
        player.pause();
        // Whatever J and L made of it, time runs on as chosen.
        player.set_speed(state.playback.chosen_speed);
    };
    match command {
        Command::TogglePlay if player.is_playing() => halt(),
        Command::Halt => halt(),
        Command::TogglePlay => {
            // Also after J has come to the start.
            player.set_speed(state.playback.chosen_speed);
            player.play();
        }
        Command::Shuttle(forwards) => {
            player.set_speed(state.shuttle_speed(*forwards));
            player.play();
        }
        Command::Seek(t) => player.seek(*t),
        Command::Scrub(t) => player.scrub(*t),
        Command::Skip(by) => player.seek(player.position_secs() + by),
        Command::StepFrame(by) => {
            halt();
            if *by < 0 { player.step_back() } else { player.step_forward() }
        }
        Command::Home => player.seek(0.0),
        Command::End => player.seek(state.duration_secs().unwrap_or(f64::INFINITY)),
        Command::ToggleMute => player.set_muted(!player.is_muted()),
        Command::SetVolume(volume) => player.set_volume(*volume),
        Command::StepVolume(up) => {
            let step = if *up { VOLUME_STEP } else { -VOLUME_STEP };
            // In whole steps, wherever the slider stands.
            let volume = ((player.volume() + step) / VOLUME_STEP).round() * VOLUME_STEP;
            player.set_volume(volume.clamp(0.0, 1.0));
            if *up {
                player.set_muted(false);
            }
        }
        Command::HearOwnSound(own) => player.hear_own_sound(*own),
        _ => {}
    }
}

/// Tells the player what the state made of a command.
pub(super) fn after(player: &Playback, state: &State, command: &Command) {
    match command {
        Command::StepSpeed(_) | Command::SetSpeed(_) => {
            // Whichever way time runs.
            let backwards = player.is_playing() && player.speed() < 0.0;
            let speed = state.playback.chosen_speed;
            player.set_speed(if backwards { -speed } else { speed });
        }
        Command::SelectFrom | Command::SelectTo | Command::Select(_) | Command::ToggleLoop => {
            player.set_repeat(state.repeat());
        }
        _ => {}
    }
}
