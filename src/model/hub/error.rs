//! What can go wrong while a checkpoint is fetched: each says what was tried, what was wrong, and the way out.

use std::path::PathBuf;

use crate::download::bytes_text;

/// A checkpoint that is not here, while no hub is in reach.
#[derive(Debug, thiserror::Error)]
#[error(
    "{id} is not in the local hub cache and {cause}. Where there is a network, run `hf download {command}` and copy \
     the folder {folder} to {place}; or put {missing} into any folder and give it with --model DIR",
    place = place.display()
)]
pub struct Offline {
    /// The checkpoint.
    pub id: String,
    /// Why it cannot be fetched.
    pub cause: String,
    /// Arguments of `hf download`.
    pub command: String,
    /// The repository's folder in the cache.
    pub folder: String,
    /// The cache.
    pub place: PathBuf,
    /// The files that are needed.
    pub missing: String,
}

/// Why a checkpoint was not fetched.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// Not the name of a repository.
    #[error("{0:?} is no hub id: it is organisation/name, with @revision where another than main is meant")]
    BadId(String),
    /// The address of the hub cannot be used.
    #[error("HF_ENDPOINT is no address of a hub: {why} ({endpoint})")]
    BadEndpoint {
        /// What was set.
        endpoint: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The file of authorities cannot be used.
    #[error("SSL_CERT_FILE holds no certificates: {why} ({})", path.display())]
    BadAuthorities {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A server that cannot show who it is.
    #[error(
        "the certificate of {host} is not trusted ({why}): where a proxy signs for others, set SSL_CERT_FILE to a PEM file \
         of its authority; else do not use this network"
    )]
    NotTrusted {
        /// The server.
        host: String,
        /// The verifier's words.
        why: String,
    },
    /// The hub cannot be reached, or must not be.
    #[error(transparent)]
    Offline(Box<Offline>),
    /// There is no such repository or revision.
    #[error("{endpoint} has no model {id} (HTTP 404): check the name and the revision")]
    NotThere {
        /// The checkpoint.
        id: String,
        /// The hub.
        endpoint: String,
    },
    /// The repository is gated or private.
    #[error(
        "{endpoint} refuses {id} (HTTP {status}): it is gated, private or does not exist. Accept its licence at \
         {endpoint}/{page}, then {token}",
        token = if *had_token { "check that the token in HF_TOKEN belongs to that account and may read it" }
                else { "put a token that may read it into HF_TOKEN (made at the hub under Settings, Access tokens)" }
    )]
    Refused {
        /// The checkpoint.
        id: String,
        /// The hub.
        endpoint: String,
        /// The repository's page.
        page: String,
        /// 401 or 403.
        status: u16,
        /// Whether a token was sent.
        had_token: bool,
    },
    /// The repository is no checkpoint that runs here.
    #[error("{id} cannot be used: {why}")]
    Unsuitable {
        /// The checkpoint.
        id: String,
        /// What it lacks.
        why: String,
    },
    /// An answer that makes no sense, or is not safe to follow.
    #[error("{endpoint} gave an answer that is not taken: {why}")]
    Strange {
        /// The hub.
        endpoint: String,
        /// What was wrong.
        why: String,
    },
    /// Tried again and again.
    #[error("{file} could not be fetched: {why} ({tries} tries). What is here is kept: ask again to go on")]
    GaveUp {
        /// The file.
        file: String,
        /// The last failure.
        why: String,
        /// How often.
        tries: u32,
    },
    /// Known before it starts.
    #[error(
        "the disk is too small: {} must be free and {} are; make room, or set HF_HOME to a folder on a larger disk ({})",
        bytes_text(*need), bytes_text(*free), place.display()
    )]
    NoRoom {
        /// Bytes that must be free.
        need: u64,
        /// Bytes that are.
        free: u64,
        /// Where.
        place: PathBuf,
    },
    /// Found out on the way.
    #[error(
        "the disk is full: {file} stopped at {} of {}. What is here is kept: make room and ask again ({})",
        bytes_text(*done), bytes_text(*bytes), place.display()
    )]
    DiskFull {
        /// The file.
        file: String,
        /// Bytes written.
        done: u64,
        /// Its size.
        bytes: u64,
        /// Where.
        place: PathBuf,
    },
    /// The bytes are not those that were announced.
    #[error(
        "{file} arrived damaged and was thrown away: its SHA-256 is {found}, {expected} was announced; ask again to \
         fetch it anew"
    )]
    Checksum {
        /// The file.
        file: String,
        /// Announced digest.
        expected: String,
        /// Digest of what came.
        found: String,
    },
    /// Another program fetches the same file.
    #[error("{file} is being fetched by another program; wait for it or stop it")]
    Busy {
        /// The file.
        file: String,
    },
    /// A file or folder of the cache cannot be used.
    #[error("cannot use the hub cache: {source} ({})", path.display())]
    Cache {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The user asked to stop; what is here is kept.
    #[error("stopped; what is here is kept")]
    Stopped,
}
