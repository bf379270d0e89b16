//! Moves the bytes of a file into the cache: resumed where an earlier call stopped, counted, and checked before anybody
//! can see them. The crate of the hub's makers does not do this: it never looks at the status of an answer (a server
//! without ranges would have its whole file appended to half of it), checks no digest and cannot be stopped. Knows
//! nothing of which files make a checkpoint.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::client::{Client, Method, TRIES, Trouble, header};
use super::meter::Meter;
use super::plan::{Facts, Plan, Target};
use super::{Control, Hub, HubError, cache};
use crate::download::Step;

/// Bytes read at a time.
const PIECE: usize = 256 << 10;

/// A blob on its way.
struct Arriving {
    file: File,
    digest: Sha256,
    at: u64,
    /// The furthest it ever was: what comes again after a restart is no progress.
    furthest: u64,
}

impl Hub {
    /// Fetches what `plan` names and is not here; returns the checkpoint's folder.
    pub fn download(&self, plan: &Plan, control: &mut Control<'_>) -> Result<PathBuf, HubError> {
        let client = Client::new(self, &plan.id)?;
        let offer = self.offer(plan);
        if let (Some(need), Some(free)) = (offer.lacks_room(), offer.free_bytes) {
            return Err(HubError::NoRoom { need, free, place: offer.place });
        }
        let mut meter = Meter::new(offer.total_bytes(), offer.done_bytes());
        for target in &plan.targets {
            self.fetch(&client, target, &mut meter, control)?;
        }
        meter.report(Step::Fetching, "", control);
        Ok(self.cached_repo(&plan.id).pointer_path(&plan.commit))
    }

    /// Fetches a file, unless it is here, and shows it in its snapshot.
    pub(super) fn fetch(
        &self,
        client: &Client<'_>,
        target: &Target,
        meter: &mut Meter,
        control: &mut Control<'_>,
    ) -> Result<(), HubError> {
        control.check()?;
        if !target.is_here() {
            let _lock = self.lock(target)?;
            // Another program may have finished it in the meantime.
            if !target.is_here() {
                self.arrive(client, target, meter, control)?;
            }
        }
        cache::link(&target.blob, &target.shown)
    }

    fn arrive(
        &self,
        client: &Client<'_>,
        target: &Target,
        meter: &mut Meter,
        control: &mut Control<'_>,
    ) -> Result<(), HubError> {
        let failed = |source| HubError::Cache { path: target.partial.clone(), source };
        let mut arriving = take_up(target, meter, control)?;
        client.patiently(&target.name, TRIES, meter, control, |meter, control| {
            let before = arriving.furthest;
            let result = self.pull(client, target, &mut arriving, meter, control);
            (arriving.furthest > before, result)
        })?;
        let found = hex(&arriving.digest.finalize());
        if let Some(expected) = target.sha256.clone().filter(|expected| *expected != found) {
            drop(arriving.file);
            std::fs::remove_file(&target.partial).map_err(failed)?;
            meter.lose(target.size);
            return Err(HubError::Checksum { file: target.name.clone(), expected, found });
        }
        arriving.file.sync_data().map_err(failed)?;
        drop(arriving.file);
        std::fs::rename(&target.partial, &target.blob).map_err(failed)
    }

    /// One request for what is missing of a file.
    fn pull(
        &self,
        client: &Client<'_>,
        target: &Target,
        arriving: &mut Arriving,
        meter: &mut Meter,
        control: &mut Control<'_>,
    ) -> Result<(), Trouble> {
        if arriving.at == target.size {
            return Ok(());
        }
        let failed = |source| Trouble::from(HubError::Cache { path: target.partial.clone(), source });
        let mut facts = Facts::default();
        let from = (arriving.at > 0).then_some(arriving.at);
        let mut changed = false;
        let walked = client.walk(Method::Get, &target.url, from, &mut |headers, own| {
            facts.take(headers, own);
            changed = facts.is_own() && facts.etag.as_ref().is_some_and(|etag| *etag != target.etag);
            if changed {
                Err(client.strange(format!("{} has changed meanwhile; ask again", target.name)).into())
            } else {
                Ok(false)
            }
        });
        if changed {
            // Bytes of two versions must not be mixed.
            arriving.restart(meter).map_err(failed)?;
        }
        let response = walked?;
        let headers = response.headers();
        match response.status().as_u16() {
            206 if range_of(headers) == Some((arriving.at, target.size)) => {}
            206 | 416 => {
                arriving.restart(meter).map_err(failed)?;
                return Err(Trouble::Again("the hub sent another part than was asked for".into(), None));
            }
            // The server knows no ranges: all of it comes again.
            _ => arriving.restart(meter).map_err(failed)?,
        }
        let left = target.size - arriving.at;
        let announced = header(headers, "content-length").and_then(|l| l.parse::<u64>().ok());
        if let Some(length) = announced.filter(|length| *length != left) {
            arriving.restart(meter).map_err(failed)?;
            let why = format!("{length} bytes come of {} where {left} were announced", target.name);
            return Err(client.strange(why).into());
        }
        let mut body = response.into_body().into_reader();
        let mut piece = vec![0; PIECE];
        loop {
            control.check()?;
            let n = match body.read(&mut piece) {
                Ok(n) => n,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(Trouble::Again(format!("the connection broke: {e}"), None)),
            };
            if n == 0 && arriving.at == target.size {
                return Ok(());
            }
            if n == 0 {
                return Err(Trouble::Again("the connection ended too early".into(), None));
            }
            if n as u64 > target.size - arriving.at {
                arriving.restart(meter).map_err(failed)?;
                return Err(client.strange(format!("more bytes of {} than were announced", target.name)).into());
            }
            (self.system.append)(&mut arriving.file, &piece[..n]).map_err(|e| match e.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Trouble::from(HubError::DiskFull {
                    file: target.name.clone(),
                    done: arriving.at,
                    bytes: target.size,
                    place: self.cache.clone(),
                }),
                _ => failed(e),
            })?;
            arriving.digest.update(&piece[..n]);
            arriving.at += n as u64;
            arriving.furthest = arriving.furthest.max(arriving.at);
            meter.add(n as u64);
            meter.tick(&Step::Fetching, &target.name, control);
        }
    }

    /// Keeps other programs from writing the same blob: the lock that Python's library takes.
    fn lock(&self, target: &Target) -> Result<File, HubError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| HubError::Cache { path, source }
        };
        let blobs = target.blob.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(blobs).map_err(failed(blobs))?;
        let repository = blobs.parent().and_then(Path::file_name).unwrap_or_default();
        let folder = self.cache.join(".locks").join(repository);
        std::fs::create_dir_all(&folder).map_err(failed(&folder))?;
        let path = folder.join(format!("{}.lock", target.etag));
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(failed(&path))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(HubError::Busy { file: target.name.clone() }),
            Err(TryLockError::Error(source)) => Err(HubError::Cache { path, source }),
        }
    }
}

/// Opens the partial blob and digests what an earlier call left in it.
fn take_up(target: &Target, meter: &mut Meter, control: &mut Control<'_>) -> Result<Arriving, HubError> {
    let failed = |source| HubError::Cache { path: target.partial.clone(), source };
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&target.partial);
    let mut file = opened.map_err(failed)?;
    if file.metadata().map_err(failed)?.len() > target.size {
        file.set_len(0).map_err(failed)?;
    }
    let (mut digest, mut at, mut piece) = (Sha256::new(), 0, vec![0; PIECE]);
    loop {
        control.check()?;
        match file.read(&mut piece).map_err(failed)? {
            0 => break,
            n => {
                digest.update(&piece[..n]);
                at += n as u64;
                meter.tick(&Step::Checking, &target.name, control);
            }
        }
    }
    Ok(Arriving { file, digest, at, furthest: at })
}

impl Arriving {
    /// Throws away what there is.
    fn restart(&mut self, meter: &mut Meter) -> io::Result<()> {
        meter.lose(self.at);
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.digest = Sha256::new();
        self.at = 0;
        Ok(())
    }
}

/// First byte and whole size of `Content-Range: bytes 5-9/10`.
fn range_of(headers: &ureq::http::HeaderMap) -> Option<(u64, u64)> {
    let (range, size) = header(headers, "content-range")?.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, size): (u64, u64, u64) = (first.parse().ok()?, last.parse().ok()?, size.parse().ok()?);
    (last.checked_add(1) == Some(size)).then_some((first, size))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}
