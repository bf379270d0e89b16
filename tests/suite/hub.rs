//! Fetching checkpoints from a server that plays the hub: as it answers on good days, on bad days, and with intent.
//! Only this machine is spoken to; nothing waits (pauses between tries are counted, not slept) and no disk is filled
//! (the error of a full one is put in the place of a write).

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use candle_core::{DType, Device, Tensor};
use modalens::download::{Progress, Step};
use modalens::model::hub::{Control, Hub, HubError, HubId, Plan, System};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::checkpoint::fixture;

/// The repository that the server has.
pub const NAME: &str = "tiny/thinker";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
pub const FIRST: &str = "model-00001-of-00003.safetensors";
pub const SECOND: &str = "model-00002-of-00003.safetensors";
/// Holds nothing that the Thinker reads.
const SPEECH: &str = "model-00003-of-00003.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const TOKEN: &str = "hf_secret";

// -------------------------------------------------------------------------------------------------------- server

/// What the server does to one request for a file, instead of serving it well.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Answers with a status and headers.
    Status(u16, &'static str),
    /// Ends the connection after so many bytes of the body.
    Cut(usize),
    /// Sends so many bytes of the body and then nothing, until the server ends.
    Stall(usize),
    /// Knows no ranges.
    NoRange,
    /// Knows no ranges, and ends the connection after so many bytes.
    NoRangeCut(usize),
    /// Sends another part than was asked for.
    WrongRange,
    /// Changes a byte.
    Garble,
    /// Sends more than it announces elsewhere, without a length.
    Long,
    /// Announces another length.
    Length(usize),
    /// Says that the file is another by now.
    Changed,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    cdn: bool,
    method: String,
    path: String,
    headers: HashMap<String, String>,
}

#[derive(Default)]
struct Script {
    files: BTreeMap<String, Vec<u8>>,
    /// Faults of requests for a file's bytes, used up in order.
    faults: HashMap<String, VecDeque<Fault>>,
    /// Faults of requests for the list of files.
    list_faults: VecDeque<Fault>,
    /// Answers in the place of the list of files.
    list: Option<String>,
    etags: HashMap<String, String>,
    location: Option<String>,
    /// Another address of the store.
    store: Option<String>,
    log: Vec<Seen>,
    ended: bool,
}

/// Plays the hub, and the store of large files behind it, which is another host.
pub struct Server {
    hub: u16,
    cdn: u16,
    script: Arc<Mutex<Script>>,
}

impl Server {
    /// A server with the small checkpoint in three shards.
    pub fn start() -> Self {
        let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (hub, cdn) = (listen(), listen());
        let (hub_port, cdn_port) = (hub.local_addr().unwrap().port(), cdn.local_addr().unwrap().port());
        let script = Arc::new(Mutex::new(Script { files: repository(), ..Script::default() }));
        for (listener, is_cdn) in [(hub, false), (cdn, true)] {
            let script = Arc::clone(&script);
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    if script.lock().unwrap().ended {
                        return;
                    }
                    let script = Arc::clone(&script);
                    // A client that hangs up is part of the play.
                    std::thread::spawn(move || drop(serve(stream, &script, is_cdn, cdn_port)));
                }
            });
        }
        Self { hub: hub_port, cdn: cdn_port, script }
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.hub)
    }

    fn script(&self) -> std::sync::MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    pub fn fault(&self, file: &str, faults: impl IntoIterator<Item = Fault>) {
        self.script().faults.entry(file.to_owned()).or_default().extend(faults);
    }

    pub fn requests(&self) -> usize {
        self.script().log.len()
    }

    /// Bytes of a file that was asked for, by the ranges of the requests.
    pub fn ranges(&self, file: &str) -> Vec<Option<String>> {
        let script = self.script();
        let asked = script.log.iter().filter(|s| !s.cdn && s.method == "GET" && s.path.ends_with(file));
        asked.map(|s| s.headers.get("range").cloned()).collect()
    }

    fn size(&self, file: &str) -> u64 {
        self.script().files[file].len() as u64
    }

    /// A hub with an empty cache, whose waits are only counted.
    fn hub(&self) -> Local {
        let cache = tempfile::tempdir().unwrap();
        let waited = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&waited);
        let system = System {
            wait: Arc::new(move |d: Duration| {
                count.fetch_add(d.as_millis() as u64, Ordering::Relaxed);
            }),
            ..System::default()
        };
        let hub = Hub {
            cache: cache.path().join("hub"),
            endpoint: self.endpoint(),
            token: Some(TOKEN.to_owned()),
            authorities: None,
            offline: false,
            system,
        };
        Local { hub, waited, _cache: cache }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.script.lock().unwrap_or_else(std::sync::PoisonError::into_inner).ended = true;
        for port in [self.hub, self.cdn] {
            // The listeners wake up and see that it is over.
            let _ = TcpStream::connect(("127.0.0.1", port));
        }
    }
}

struct Local {
    hub: Hub,
    waited: Arc<AtomicU64>,
    _cache: tempfile::TempDir,
}

impl Local {
    fn plan(&self) -> Result<Plan, HubError> {
        self.hub.plan(&id(), &mut Control { stop: &AtomicBool::new(false), notify: &mut |_| {} })
    }

    fn download(&self, plan: &Plan) -> (Result<PathBuf, HubError>, Vec<Progress>) {
        let mut heard = Vec::new();
        let mut notify = |p| heard.push(p);
        let done = self.hub.download(plan, &mut Control { stop: &AtomicBool::new(false), notify: &mut notify });
        (done, heard)
    }

    /// Plans and downloads.
    fn get(&self) -> Result<PathBuf, HubError> {
        self.download(&self.plan()?).0
    }

    fn snapshot(&self) -> PathBuf {
        self.hub.folder_of(&id()).join("snapshots").join(COMMIT)
    }

    /// Sizes of blobs that are not whole.
    fn partials(&self) -> Vec<u64> {
        let blobs = std::fs::read_dir(self.hub.folder_of(&id()).join("blobs")).unwrap().flatten();
        let partial = blobs.filter(|b| b.file_name().to_string_lossy().ends_with(".incomplete"));
        partial.map(|b| b.metadata().unwrap().len()).collect()
    }
}

fn id() -> HubId {
    NAME.parse().unwrap()
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |hex, b| hex + &format!("{b:02x}"))
}

fn is_large(file: &str) -> bool {
    file.ends_with(".safetensors")
}

/// The small checkpoint with its weights in two shards, and a third with what speaks.
fn repository() -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(fixture()).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if !is_large(&name) {
            files.insert(name, std::fs::read(entry.path()).unwrap());
        }
    }
    let all = candle_core::safetensors::load(fixture().join("model.safetensors"), &Device::Cpu).unwrap();
    let mut names: Vec<_> = all.keys().filter(|n| n.starts_with("thinker.")).cloned().collect();
    names.sort();
    let (first, second) = names.split_at(names.len() / 2);
    let ones = Tensor::ones((3, 4), DType::F32, &Device::Cpu).unwrap();
    let speech: HashMap<String, Tensor> =
        ["talker.model.norm.weight", "token2wav.x"].into_iter().map(|n| (n.to_owned(), ones.clone())).collect();
    let part = |names: &[String]| names.iter().map(|n| (n.clone(), all[n].clone())).collect::<HashMap<_, _>>();
    let folder = tempfile::tempdir().unwrap();
    let mut map = BTreeMap::new();
    for (shard, tensors) in [(FIRST, part(first)), (SECOND, part(second)), (SPEECH, speech)] {
        let path = folder.path().join(shard);
        candle_core::safetensors::save(&tensors, &path).unwrap();
        files.insert(shard.to_owned(), std::fs::read(path).unwrap());
        map.extend(tensors.into_keys().map(|name| (name, shard)));
    }
    files.insert(INDEX.into(), json!({ "metadata": {}, "weight_map": map }).to_string().into_bytes());
    // What a repository has besides.
    files.insert("README.md".into(), b"# A model".to_vec());
    files.insert("spk_dict.pt".into(), b"pickled".to_vec());
    files
}

fn serve(stream: TcpStream, script: &Mutex<Script>, cdn: bool, cdn_port: u16) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(()) };
    let (method, path) = (method.to_owned(), path.to_owned());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    let range = headers.get("range").cloned();
    let file = path.rsplit('/').next().unwrap_or_default().split('?').next().unwrap_or_default().to_owned();
    let mut s = script.lock().unwrap();
    s.log.push(Seen { cdn, method: method.clone(), path: path.clone(), headers });
    let mut out = stream;
    let head = method == "HEAD";
    let mut answer = |status: u16, headers: &str, body: &[u8]| -> io::Result<()> {
        write!(out, "HTTP/1.1 {status} x\r\nconnection: close\r\n{headers}\r\n")?;
        if head { Ok(()) } else { out.write_all(body) }
    };
    let length = |n: usize| format!("content-length: {n}\r\n");

    if path.starts_with("/api/models/") {
        if let Some(Fault::Status(status, extra)) = s.list_faults.pop_front() {
            return answer(status, &format!("{extra}{}", length(0)), b"");
        }
        if !path.starts_with(&format!("/api/models/{NAME}/revision/main")) {
            return answer(404, &length(0), b"");
        }
        let siblings: Vec<_> = s
            .files
            .iter()
            .map(|(name, bytes)| {
                let lfs = is_large(name).then(|| json!({ "sha256": hex(bytes) }));
                json!({ "rfilename": name, "size": bytes.len(), "lfs": lfs })
            })
            .collect();
        let good = json!({ "sha": COMMIT, "siblings": siblings, "private": false }).to_string();
        let text = s.list.clone().unwrap_or(good);
        return answer(200, &length(text.len()), text.as_bytes());
    }
    let Some(bytes) = s.files.get(&file).cloned() else { return answer(404, &length(0), b"") };
    let etag = s
        .etags
        .get(&file)
        .cloned()
        .unwrap_or_else(|| if is_large(&file) { hex(&bytes) } else { hex(&bytes)[..40].to_owned() });
    // The bytes of large files lie elsewhere; small ones move once within the hub.
    let stored = cdn || path.starts_with("/api/resolve-cache/");
    if !stored {
        let fault = s.faults.get(&file).and_then(|f| f.front().cloned());
        if let (Some(Fault::Changed), false) = (&fault, head) {
            s.faults.get_mut(&file).unwrap().pop_front();
            let linked = format!("x-linked-etag: \"{}\"\r\nx-linked-size: {}\r\n", hex(b"other"), bytes.len());
            return answer(302, &format!("{linked}location: /nowhere\r\n{}", length(0)), b"");
        }
        let location = match (&s.location, is_large(&file)) {
            (Some(location), true) => location.clone(),
            (None, true) => {
                let store = s.store.clone().unwrap_or_else(|| format!("http://127.0.0.1:{cdn_port}"));
                format!("{store}/store/{file}?signature=x")
            }
            (_, false) => format!("/api/resolve-cache/{file}"),
        };
        let linked = if is_large(&file) {
            format!("x-linked-etag: \"{etag}\"\r\nx-linked-size: {}\r\n", bytes.len())
        } else {
            String::new()
        };
        let status = if is_large(&file) { 302 } else { 307 };
        let moved = format!("{linked}etag: \"of-the-redirect\"\r\nlocation: {location}\r\n{}", length(0));
        return answer(status, &moved, b"");
    }
    let fault = if head { None } else { s.faults.get_mut(&file).and_then(VecDeque::pop_front) };
    // A store has tags of its own.
    let tag = if cdn { "\"store-7\"".to_owned() } else { format!("W/\"{etag}\"") };
    drop(s);
    let start = range.and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    let start = start.filter(|_| !matches!(fault, Some(Fault::NoRange | Fault::NoRangeCut(_))));
    let part = &bytes[start.unwrap_or(0).min(bytes.len())..];
    let (status, range) = match (start, &fault) {
        (_, Some(Fault::WrongRange)) => (206, format!("content-range: bytes 0-{}/{0}\r\n", bytes.len())),
        (Some(start), _) => (206, format!("content-range: bytes {start}-{}/{}\r\n", bytes.len() - 1, bytes.len())),
        (None, _) => (200, String::new()),
    };
    let headers = format!("etag: {tag}\r\n{range}");
    let whole = format!("{headers}{}", length(part.len()));
    match fault {
        None | Some(Fault::NoRange | Fault::WrongRange | Fault::Changed) => answer(status, &whole, part),
        Some(Fault::Status(status, extra)) => answer(status, &format!("{extra}{}", length(0)), b""),
        Some(Fault::Cut(n) | Fault::NoRangeCut(n)) => answer(status, &whole, &part[..n]),
        Some(Fault::Stall(n)) => {
            answer(status, &whole, &part[..n])?;
            // Until the client hangs up.
            let _ = reader.read(&mut [0]);
            Ok(())
        }
        Some(Fault::Garble) => {
            let mut part = part.to_vec();
            *part.last_mut().unwrap() ^= 1;
            answer(status, &whole, &part)
        }
        Some(Fault::Long) => {
            let mut part = part.to_vec();
            part.extend([7; 1000]);
            answer(status, &headers, &part)
        }
        Some(Fault::Length(n)) => answer(status, &format!("{headers}{}", length(n)), part),
    }
}

// --------------------------------------------------------------------------------------------------------- tests

#[test]
fn only_the_thinkers_files_are_fetched_and_what_is_here_is_never_asked_for_again() {
    let server = Server::start();
    let local = server.hub();
    assert_eq!(local.hub.cached(&id()), None);
    assert_eq!(server.requests(), 0, "looking into the cache asks nobody");
    let plan = local.plan().unwrap();
    let offer = local.hub.offer(&plan);
    let names: Vec<_> = offer.files.iter().map(|f| f.name.as_str()).collect();
    for wanted in ["config.json", "tokenizer.json", "preprocessor_config.json", "chat_template.json", FIRST, SECOND] {
        assert!(names.contains(&wanted), "{wanted} is not in {names:?}");
    }
    for other in [SPEECH, "README.md", "spk_dict.pt"] {
        assert!(!names.contains(&other), "{other}");
    }
    assert_eq!(offer.total_bytes(), names.iter().map(|n| server.size(n)).sum::<u64>());
    assert!(offer.free_bytes.is_some() && offer.lacks_room().is_none());
    assert!(server.ranges(FIRST).is_empty(), "a size is known without the bytes");

    let (dir, heard) = local.download(&plan);
    let dir = dir.unwrap();
    assert_eq!(dir, local.snapshot());
    let last = heard.last().unwrap();
    assert_eq!((last.done_bytes, last.total_bytes), (offer.total_bytes(), offer.total_bytes()));
    for name in names {
        assert_eq!(std::fs::read(dir.join(name)).unwrap(), server.script().files[name], "{name}");
        // As every program of the hub expects it: a relative link to a blob of the ETag's name.
        let link = std::fs::read_link(dir.join(name)).unwrap();
        assert!(link.starts_with("../../blobs") && dir.join(&link).is_file(), "{link:?}");
    }
    let blob = std::fs::read_link(dir.join(FIRST)).unwrap();
    assert_eq!(blob.file_name().unwrap().to_str(), Some(hex(&server.script().files[FIRST]).as_str()));
    let reference = std::fs::read_to_string(local.hub.folder_of(&id()).join("refs/main")).unwrap();
    assert_eq!(reference, COMMIT);
    assert!(!dir.join(SPEECH).exists() && local.partials().is_empty());

    // The token goes to the hub and to nobody else; nothing but the program's name is told.
    let log = server.script().log.clone();
    assert!(log.iter().any(|s| s.cdn) && log.iter().any(|s| !s.cdn));
    for seen in &log {
        let expected = (!seen.cdn).then(|| format!("Bearer {TOKEN}"));
        assert_eq!(seen.headers.get("authorization"), expected.as_ref(), "{seen:?}");
        assert_eq!(seen.headers["user-agent"], concat!("modalens/", env!("CARGO_PKG_VERSION")));
        assert!(!seen.headers.contains_key("cookie") && !seen.headers.contains_key("referer"), "{seen:?}");
    }
    assert!(!format!("{:?}", local.hub).contains(TOKEN));

    let before = server.requests();
    assert_eq!(local.hub.cached(&id()), Some(dir.clone()));
    let held = local.hub.held();
    assert_eq!((held.len(), held[0].id.as_str(), held[0].complete), (1, NAME, true));
    assert_eq!(server.requests(), before);
    // A second download finds everything here.
    assert_eq!(local.hub.offer(&local.plan().unwrap()).left_bytes(), 0);
    let bodies = server.ranges(FIRST).len();
    assert_eq!(local.get().unwrap(), dir);
    assert_eq!(server.ranges(FIRST).len(), bodies);
}

#[test]
fn a_cut_connection_is_taken_up_where_it_broke() {
    let server = Server::start();
    let local = server.hub();
    server.fault(FIRST, [Fault::Cut(1000), Fault::Cut(0), Fault::Status(503, ""), Fault::Cut(5000)]);
    let (dir, heard) = local.download(&local.plan().unwrap());
    assert_eq!(std::fs::read(dir.unwrap().join(FIRST)).unwrap(), server.script().files[FIRST]);
    let asked = server.ranges(FIRST);
    let from = |n: u64| Some(format!("bytes={n}-"));
    assert_eq!(asked, [None, from(1000), from(1000), from(1000), from(6000)]);
    // Every pause was told, longer each time, and shorter again after progress.
    let waits: Vec<_> = heard
        .iter()
        .filter_map(|p| match &p.step {
            Step::Waiting { attempt, secs, .. } => Some((*attempt, *secs)),
            _ => None,
        })
        .collect();
    assert_eq!(waits, [(1, 1.0), (2, 2.0), (3, 4.0), (1, 1.0)]);
    assert_eq!(local.waited.load(Ordering::Relaxed), 8000);
}

#[test]
fn a_hub_that_stays_broken_is_given_up_and_what_came_is_kept() {
    let server = Server::start();
    let local = server.hub();
    let plan = local.plan().unwrap();
    server.fault(FIRST, [Fault::Cut(3000)]);
    server.fault(FIRST, (0..20).map(|_| Fault::Status(502, "")));
    let (result, _) = local.download(&plan);
    let said = result.unwrap_err().to_string();
    assert!(said.contains(FIRST) && said.contains("HTTP 502") && said.contains("kept"), "{said}");
    assert!(server.ranges(FIRST).len() < 12, "bounded: {:?}", server.ranges(FIRST));
    assert_eq!(local.partials(), [3000]);
    assert!(!local.snapshot().join(FIRST).exists(), "nothing half-written is shown");
    assert_eq!(local.hub.cached(&id()), None);
    let held = local.hub.held();
    assert!(held.len() == 1 && !held[0].complete);
    server.script().faults.clear();

    // The next call, of another process for all that is shared, goes on.
    let offer = local.hub.offer(&local.plan().unwrap());
    assert!(offer.done_bytes() > 3000, "small files and a beginning are here");
    assert!(local.get().is_ok());
    assert_eq!(server.ranges(FIRST).last().unwrap().as_deref(), Some("bytes=3000-"));

    // A pause that the hub asks for is made, but not an endless one.
    let local = server.hub();
    server.fault(SECOND, [Fault::Status(429, "retry-after: 7\r\n"), Fault::Status(503, "retry-after: 99999\r\n")]);
    assert!(local.get().is_ok());
    assert_eq!(local.waited.load(Ordering::Relaxed), 67_000);
}

#[test]
fn servers_without_ranges_start_again() {
    let server = Server::start();
    let local = server.hub();
    server.fault(FIRST, [Fault::Cut(1000), Fault::NoRange]);
    server.fault(SECOND, [Fault::Cut(1000), Fault::WrongRange, Fault::Status(416, "")]);
    let (dir, heard) = local.download(&local.plan().unwrap());
    let dir = dir.unwrap();
    for shard in [FIRST, SECOND] {
        assert_eq!(std::fs::read(dir.join(shard)).unwrap(), server.script().files[shard], "{shard}");
    }
    let last = heard.last().unwrap();
    assert_eq!(last.done_bytes, last.total_bytes, "what came twice is counted once");

    // One that always starts again and always breaks is not tried for ever.
    let local = server.hub();
    server.fault(FIRST, (0..100).map(|_| Fault::NoRangeCut(2000)));
    assert!(matches!(local.get(), Err(HubError::GaveUp { .. })));
    assert!(server.script().faults[FIRST].len() > 80);
}

#[test]
fn damaged_and_changed_files_are_thrown_away() {
    let server = Server::start();
    let local = server.hub();
    server.fault(FIRST, [Fault::Garble]);
    let said = local.get().unwrap_err().to_string();
    let digest = hex(&server.script().files[FIRST]);
    assert!(said.contains(FIRST) && said.contains(&digest) && said.contains("thrown away"), "{said}");
    assert_eq!(local.partials(), Vec::<u64>::new());
    assert!(!local.snapshot().join(FIRST).exists());
    assert!(local.get().is_ok(), "the next call fetches it anew");

    // Damage in what an earlier call left is found too.
    let local = server.hub();
    server.fault(FIRST, (0..6).map(|_| Fault::Cut(0)));
    let plan = local.plan().unwrap();
    let partial = local.hub.folder_of(&id()).join("blobs").join(format!("{digest}.incomplete"));
    std::fs::write(&partial, [9; 4000]).unwrap();
    let (result, _) = local.download(&plan);
    assert!(matches!(result, Err(HubError::GaveUp { .. })));
    server.script().faults.clear();
    assert!(matches!(local.get(), Err(HubError::Checksum { .. })));
    assert!(!partial.exists());
    assert!(local.get().is_ok());

    // Another version on the hub: not a byte of the two is mixed, and a new plan fetches the new one whole.
    let local = server.hub();
    server.fault(FIRST, [Fault::Cut(4000), Fault::Changed]);
    let said = local.get().unwrap_err().to_string();
    assert!(said.contains("changed") && said.contains(FIRST), "{said}");
    assert_eq!(local.partials(), [0]);
    let mut other = server.script().files[FIRST].clone();
    let end = other.len() - 3;
    other[end] ^= 1;
    server.script().files.insert(FIRST.into(), other.clone());
    let dir = local.get().unwrap();
    assert_eq!(std::fs::read(dir.join(FIRST)).unwrap(), other);
    assert_eq!(server.ranges(FIRST).last().unwrap(), &None);
}

#[test]
fn bodies_of_other_lengths_are_refused() {
    let server = Server::start();
    for fault in [Fault::Long, Fault::Length(10), Fault::Length(1 << 40)] {
        let local = server.hub();
        server.fault(SECOND, [fault.clone()]);
        let said = local.get().unwrap_err().to_string();
        assert!(said.contains(SECOND) && said.contains("announced"), "{fault:?}: {said}");
        assert!(!local.snapshot().join(SECOND).exists());
        assert_eq!(local.partials(), [0], "{fault:?}");
        assert!(local.get().is_ok());
    }
}

#[test]
fn refusals_say_what_to_do() {
    let server = Server::start();
    let local = server.hub();
    for (status, words) in [
        (401, vec!["gated", "licence", NAME, "HF_TOKEN", "belongs to that account"]),
        (403, vec!["gated", "licence", NAME, "HF_TOKEN"]),
        (404, vec!["no model", NAME, "revision"]),
        (400, vec!["HTTP 400"]),
    ] {
        server.script().list_faults.push_back(Fault::Status(status, ""));
        let said = local.plan().unwrap_err().to_string();
        for word in words {
            assert!(said.contains(word), "{status}: {word:?} is not in {said}");
        }
        assert!(!said.contains(TOKEN), "{said}");
    }
    let mut without = server.hub();
    without.hub.token = None;
    server.script().list_faults.push_back(Fault::Status(401, ""));
    let said = without.plan().unwrap_err().to_string();
    assert!(said.contains("put a token that may read it into HF_TOKEN"), "{said}");
    let before = server.requests();
    let control = &mut Control { stop: &AtomicBool::new(false), notify: &mut |_| {} };
    let said = local.hub.plan(&"tiny/thinker@v9".parse().unwrap(), control).unwrap_err().to_string();
    assert!(said.contains("tiny/thinker@v9"), "{said}");
    assert_eq!(server.requests(), before + 1, "404 is not tried again");
    assert_eq!(local.waited.load(Ordering::Relaxed), 0);
    assert!(!local.hub.cache.exists(), "nothing is left");

    // An expired address of the store is no refusal: the hub gives a new one.
    server.fault(FIRST, [Fault::Status(403, "")]);
    assert!(local.get().is_ok());
}

#[test]
fn hostile_answers_are_not_taken() {
    let server = Server::start();
    let local = server.hub();
    let says = |words: &str| {
        let said = local.get().unwrap_err().to_string();
        assert!(said.contains(words), "{words:?} is not in {said}");
        assert!(!said.contains('\n'), "{said}");
    };
    let list = |sha: &str, names: &[&str]| {
        let siblings: Vec<_> = names.iter().map(|n| json!({ "rfilename": n })).collect();
        server.script().list = Some(json!({ "sha": sha, "siblings": siblings }).to_string());
    };
    for bad in ["../config.json", "/etc/passwd", "a/../../b", "..\\x", "\\x"] {
        list(COMMIT, &["config.json", bad]);
        says("a file named");
    }
    list("../../x", &["config.json"]);
    says("as a commit");
    let many: Vec<_> = (0..20_001).map(|i| format!("f{i}")).collect();
    list(COMMIT, &many.iter().map(String::as_str).collect::<Vec<_>>());
    says("20001 files");
    list(COMMIT, &["README.md"]);
    says("no config.json");
    list(COMMIT, &["config.json", "tokenizer.json"]);
    says("neither model.safetensors nor");
    server.script().list = Some("x".repeat(9 << 20));
    says("more than 8388608 bytes");
    for broken in ["", "{", "[]", "{\"sha\": 1}"] {
        server.script().list = Some(broken.into());
        says("cannot be read");
    }
    server.script().list = None;

    for bad in ["../../../x", "a/b", "", "a b", &"a".repeat(200)] {
        server.script().etags.insert("config.json".into(), bad.to_owned());
        let said = local.get().unwrap_err().to_string();
        assert!(said.contains("ETag of config.json") || said.contains("gave an answer"), "{bad:?}: {said}");
    }
    server.script().etags.clear();

    let loops = format!("{}/{NAME}/resolve/{COMMIT}/{FIRST}", server.endpoint());
    for bad in ["file:///etc/passwd", "gopher://x/y", "nonsense", ""] {
        server.script().location = Some(bad.to_owned());
        says("a redirect to");
    }
    server.script().location = Some(loops);
    says("more than 5 redirects");
    server.script().location = None;

    let index = server.script().files[INDEX].clone();
    for (shard, words) in [
        ("../../../../x.safetensors", "not the name of a file in this folder"),
        ("/etc/passwd", "not the name of a file in this folder"),
        ("model-00009-of-00003.safetensors", "which is not there"),
    ] {
        let map = json!({ "weight_map": { "thinker.a": shard } }).to_string();
        server.script().files.insert(INDEX.into(), map.into_bytes());
        says(words);
    }
    server.script().files.insert(INDEX.into(), index);

    // Another architecture is known before its gigabytes come.
    let config = server.script().files["config.json"].clone();
    server.script().files.insert("config.json".into(), br#"{"model_type": "llama"}"#.to_vec());
    let before = server.ranges(FIRST).len();
    says("not a Qwen2.5-Omni configuration");
    assert_eq!(server.ranges(FIRST).len(), before);
    server.script().files.insert("config.json".into(), config);

    for (endpoint, words) in [("ftp://x", "http://"), ("nothing at all", "HF_ENDPOINT"), ("http://a@b", "HF_ENDPOINT")]
    {
        let hub = Hub { endpoint: endpoint.into(), ..local.hub.clone() };
        let said = hub.plan(&id(), &mut Control { stop: &AtomicBool::new(false), notify: &mut |_| {} });
        let said = said.unwrap_err().to_string();
        assert!(said.contains(words), "{said}");
    }
    // Nothing was put anywhere but into this repository's folder.
    let cache: Vec<_> = std::fs::read_dir(&local.hub.cache).unwrap().flatten().map(|e| e.file_name()).collect();
    assert!(cache.iter().all(|n| n == ".locks" || n == "models--tiny--thinker"), "{cache:?}");
}

#[test]
fn a_disk_that_is_or_becomes_too_small_is_named() {
    let server = Server::start();
    let mut local = server.hub();
    local.hub.system.free_bytes = Arc::new(|_| Some(500_000));
    let said = local.get().unwrap_err().to_string();
    assert!(said.contains("too small") && said.contains("500 kB") && said.contains("HF_HOME"), "{said}");
    assert!(server.ranges(FIRST).is_empty(), "known before it starts");

    // The disk fills up on the way: a write fails as it does then.
    let mut local = server.hub();
    let room = Arc::new(AtomicU64::new(40_000));
    let left = Arc::clone(&room);
    local.hub.system.append = Arc::new(move |file, bytes| {
        let fits = left.load(Ordering::Relaxed).min(bytes.len() as u64);
        file.write_all(&bytes[..fits as usize])?;
        left.fetch_sub(fits, Ordering::Relaxed);
        if fits < bytes.len() as u64 { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    });
    let said = local.get().unwrap_err().to_string();
    assert!(said.contains("the disk is full") && said.contains("kept") && said.contains(FIRST), "{said}");
    let partials = local.partials();
    assert!(partials.len() == 1 && partials[0] > 0, "{partials:?}");
    assert!(!local.snapshot().join(FIRST).exists());
    room.store(u64::MAX / 2, Ordering::Relaxed);
    let dir = local.get().unwrap();
    assert_eq!(std::fs::read(dir.join(FIRST)).unwrap(), server.script().files[FIRST]);
    assert_eq!(server.ranges(FIRST).last().unwrap().as_deref(), Some(format!("bytes={}-", partials[0]).as_str()));
}

#[test]
fn a_download_can_be_stopped_and_goes_on_later() {
    let server = Server::start();
    let local = server.hub();
    let plan = local.plan().unwrap();
    let stop = AtomicBool::new(false);
    server.fault(SECOND, [Fault::Cut(2000), Fault::Cut(0), Fault::Cut(0)]);
    let mut stop_while_waiting = |p: Progress| {
        if matches!(p.step, Step::Waiting { .. }) {
            stop.store(true, Ordering::Relaxed);
        }
    };
    let stopped = local.hub.download(&plan, &mut Control { stop: &stop, notify: &mut stop_while_waiting });
    assert!(matches!(stopped, Err(HubError::Stopped)));
    assert!(local.waited.load(Ordering::Relaxed) <= 100, "a stop is noticed within a wait");
    assert_eq!(local.partials(), [2000]);
    server.script().faults.clear();
    let bodies = server.ranges(FIRST).len();
    assert!(local.download(&plan).0.is_ok());
    assert_eq!(server.ranges(SECOND).last().unwrap().as_deref(), Some("bytes=2000-"));
    assert_eq!(server.ranges(FIRST).len(), bodies, "what is whole is not fetched again");

    // Two programs do not write the same file.
    let other = server.hub();
    let plan = other.plan().unwrap();
    let digest = hex(&server.script().files[FIRST]);
    let locks = other.hub.cache.join(".locks/models--tiny--thinker");
    std::fs::create_dir_all(&locks).unwrap();
    let lock = std::fs::File::create(locks.join(format!("{digest}.lock"))).unwrap();
    lock.lock().unwrap();
    let said = other.download(&plan).0.unwrap_err().to_string();
    assert!(said.contains("another program") && said.contains(FIRST), "{said}");
    drop(lock);
    assert!(other.download(&plan).0.is_ok());
}

#[test]
fn without_a_network_it_says_what_to_put_where() {
    let server = Server::start();
    let mut local = server.hub();
    local.hub.offline = true;
    let said = local.plan().unwrap_err().to_string();
    assert_eq!(server.requests(), 0);
    for word in
        ["HF_HUB_OFFLINE", NAME, "hf download tiny/thinker", "models--tiny--thinker", "config.json", "--model DIR"]
    {
        assert!(said.contains(word), "{word:?} is not in {said}");
    }
    // Nobody listens there.
    local.hub.offline = false;
    local.hub.endpoint = {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        format!("http://127.0.0.1:{port}")
    };
    let said = local.plan().unwrap_err().to_string();
    assert!(said.contains("cannot be reached") && said.contains("hf download"), "{said}");
    assert_eq!(local.waited.load(Ordering::Relaxed), 3000);

    // With a part here, it names the rest exactly.
    local.hub.endpoint = server.endpoint();
    server.fault(SECOND, (0..10).map(|_| Fault::Status(500, "")));
    assert!(local.get().is_err());
    local.hub.offline = true;
    let said = local.plan().unwrap_err().to_string();
    assert!(said.contains(SECOND) && !said.contains(FIRST) && !said.contains(SPEECH), "{said}");
}

// -------------------------------------------------------------------------------------------------- command line

fn modalens(server: &Server, home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_modalens"));
    for name in ["HF_TOKEN", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"] {
        command.env_remove(name);
    }
    command.env("HF_ENDPOINT", server.endpoint()).env("HF_HOME", home).args(args);
    command
}

const ASK: &[&str] =
    &["ask", "--question", "Hi?", "--max-new-tokens", "2", "--json", "--threads", "1", "--model", NAME];

#[test]
fn a_named_checkpoint_is_fetched_on_the_command_line_and_answers() {
    let server = Server::start();
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("token"), "hf_kept\n").unwrap();
    let out = modalens(&server, home.path(), ASK).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{said}");
    let plan = said.find("free on the disk").expect(&said);
    let end = said.trim_end().lines().last().unwrap();
    let (done, all) = end.trim().split_once(" of ").expect(end);
    assert!(said.rfind(end).unwrap() > plan && all.starts_with(done), "what it costs comes first: {said}");
    assert!(said.contains(FIRST) && !said.contains(SPEECH), "{said}");
    let json: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(json["model"]["id"], NAME);
    let whole = Command::new(env!("CARGO_BIN_EXE_modalens"))
        .args(ASK.iter().take(ASK.len() - 1))
        .arg(fixture())
        .output()
        .unwrap();
    let whole: serde_json::Value = serde_json::from_slice(&whole.stdout).unwrap();
    assert_eq!(json["answer"], whole["answer"], "the shards are the checkpoint");
    assert!(server.script().log.iter().all(|s| s.cdn || s.headers["authorization"] == "Bearer hf_kept"));

    // From now on nobody is asked.
    let before = server.requests();
    let again = modalens(&server, home.path(), ASK).output().unwrap();
    assert!(again.status.success() && !String::from_utf8_lossy(&again.stderr).contains("free on the disk"));
    assert_eq!(server.requests(), before);
    let doctor = modalens(&server, home.path(), &["doctor"]).output().unwrap();
    let doctor = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(doctor.contains(NAME) && doctor.contains(&server.endpoint()) && !doctor.contains("hf_kept"), "{doctor}");
    assert_eq!(server.requests(), before);

    // What cannot be had is one line and exit code 2.
    let mut args = ASK.to_vec();
    *args.last_mut().unwrap() = "tiny/nothing";
    let out = modalens(&server, home.path(), &args).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(2), "{said}");
    assert!(said.lines().count() == 1 && said.contains("no model tiny/nothing"), "{said}");
}

#[test]
#[cfg(unix)]
fn an_interrupted_command_leaves_what_the_next_one_goes_on_with() {
    let server = Server::start();
    let home = tempfile::tempdir().unwrap();
    server.fault(FIRST, [Fault::Stall(50_000)]);
    let mut child = modalens(&server, home.path(), ASK).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let digest = hex(&server.script().files[FIRST]);
    let blobs = home.path().join("hub/models--tiny--thinker/blobs");
    let partial = blobs.join(format!("{digest}.incomplete"));
    while std::fs::metadata(&partial).map_or(0, |m| m.len()) < 50_000 {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it was interrupted");
        std::thread::yield_now();
    }
    // As Ctrl-C does.
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert!(!child.wait().unwrap().success());
    assert_eq!(std::fs::metadata(&partial).unwrap().len(), 50_000);
    let out = modalens(&server, home.path(), ASK).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(server.ranges(FIRST), [None, Some("bytes=50000-".to_owned())]);
    assert!(String::from_utf8_lossy(&out.stderr).contains("50.0 kB here"));
}

/// A file of the test hub's HTTPS, made by `tests/fixtures/tls/make.sh`.
fn tls(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls").join(file)
}

/// Speaks HTTPS for a server of this machine that speaks HTTP; ends with the test program. Gives its port.
fn speak_tls_for(plain: u16) -> u16 {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let chain = vec![CertificateDer::from_pem_file(tls("server.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(tls("server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let relay = move |stream: TcpStream| -> io::Result<()> {
        let session = rustls::ServerConnection::new(Arc::clone(&config)).map_err(io::Error::other)?;
        let mut safe = rustls::StreamOwned::new(session, stream);
        let (mut request, mut byte) = (Vec::new(), [0]);
        while !request.ends_with(b"\r\n\r\n") {
            safe.read_exact(&mut byte)?;
            request.push(byte[0]);
        }
        let mut plain = TcpStream::connect(("127.0.0.1", plain))?;
        plain.write_all(&request)?;
        io::copy(&mut plain, &mut safe)?;
        safe.conn.send_close_notify();
        safe.flush()
    };
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that does not trust it hangs up.
            drop(relay(stream));
        }
    });
    port
}

#[test]
fn https_is_spoken_with_those_whose_certificate_is_trusted() {
    let server = Server::start();
    let (hub, store) = (speak_tls_for(server.hub), speak_tls_for(server.cdn));
    server.script().store = Some(format!("https://localhost:{store}"));
    let mut local = server.hub();
    local.hub.endpoint = format!("https://localhost:{hub}");
    // Nobody whom the world trusts has signed it: refused at once, and the way out is named.
    let refused = local.get().unwrap_err();
    assert!(matches!(refused, HubError::NotTrusted { .. }), "{refused}");
    assert!(refused.to_string().contains("SSL_CERT_FILE"), "{refused}");
    assert_eq!((server.requests(), local.waited.load(Ordering::Relaxed)), (0, 0));
    // With its authority everything comes, from the store too, and the store is not told the token.
    local.hub.authorities = Some(tls("authority.pem"));
    let folder = local.get().unwrap();
    assert_eq!(std::fs::read(folder.join(SECOND)).unwrap(), server.script().files[SECOND]);
    assert!(server.script().log.iter().all(|seen| seen.cdn != seen.headers.contains_key("authorization")));
    // A name that the certificate does not have, and files that are none of authorities.
    let mut local = server.hub();
    local.hub.endpoint = format!("https://127.0.0.1:{hub}");
    local.hub.authorities = Some(tls("authority.pem"));
    assert!(matches!(local.get(), Err(HubError::NotTrusted { .. })));
    for (file, why) in [("make.sh", "no certificate"), ("missing.pem", "No such file")] {
        local.hub.authorities = Some(tls(file));
        let error = local.get().unwrap_err().to_string();
        assert!(error.contains("SSL_CERT_FILE") && error.contains(why), "{error}");
    }
}
