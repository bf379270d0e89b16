//! The user's own folders by the XDG base directory specification. Knows nothing of what is kept there.

use std::path::PathBuf;

/// What kind of folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// What can be made again.
    Cache,
    /// What should survive a restart.
    State,
    /// What the user installed.
    Data,
}

/// The folder of a kind: the one that the environment names (an absolute path, or it does not count), else the usual one
/// below the home folder.
pub(super) fn folder(kind: Kind) -> Option<PathBuf> {
    let (variable, usual) = match kind {
        Kind::Cache => ("XDG_CACHE_HOME", ".cache"),
        Kind::State => ("XDG_STATE_HOME", ".local/state"),
        Kind::Data => ("XDG_DATA_HOME", ".local/share"),
    };
    absolute(variable).or_else(|| Some(home()?.join(usual)))
}

/// The home folder.
pub(super) fn home() -> Option<PathBuf> {
    absolute("HOME")
}

fn absolute(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from).filter(|p| p.is_absolute())
}
