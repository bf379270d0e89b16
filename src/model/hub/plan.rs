//! Which files of a repository make a Thinker, and how large they are: asked of the hub before anything large is
//! fetched. Knows nothing of how bytes are moved.

use std::path::PathBuf;

use serde::Deserialize;
use ureq::http::HeaderMap;

use super::client::{Client, FIRST_TRIES, Method, TRIES, Trouble, header};
use super::error::Offline;
use super::meter::Meter;
use super::{Control, Hub, HubError, HubId, cache};
use crate::download::{Offer, OfferedFile, Step};
use crate::model::nn::weights::{SHARD_INDEX, shards};
use crate::model::qwen2_5_omni::config::Config;

/// The small files that loading may read, where the repository has them.
pub(super) const SMALL: &[&str] = &[
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.json",
    "chat_template.jinja",
    SHARD_INDEX,
];

/// The weights where they are not sharded.
const SINGLE: &str = "model.safetensors";
/// Longest description of a repository that is read.
const MOST_INFO: u64 = 8 << 20;
/// Most files a repository may list.
const MOST_FILES: usize = 20_000;
/// Largest of the small files that is fetched: a tokenizer of a few hundred thousand words.
const MOST_SMALL: u64 = 64 << 20;

/// A file as it will be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub name: String,
    pub url: String,
    pub etag: String,
    pub size: u64,
    /// Announced digest; small files that are not in large-file storage have none.
    pub sha256: Option<String>,
    /// The blob.
    pub blob: PathBuf,
    /// The blob while it is fetched.
    pub partial: PathBuf,
    /// Its name in the snapshot.
    pub shown: PathBuf,
}

impl Target {
    /// Whether the blob is here as a whole.
    pub(super) fn is_here(&self) -> bool {
        std::fs::metadata(&self.blob).is_ok_and(|m| m.is_file() && m.len() == self.size)
    }

    /// Bytes that are here.
    pub(super) fn done(&self) -> u64 {
        if self.is_here() {
            return self.size;
        }
        std::fs::metadata(&self.partial).map_or(0, |m| if m.len() <= self.size { m.len() } else { 0 })
    }
}

/// What will be fetched, and where it is put.
#[derive(Debug, Clone)]
pub struct Plan {
    pub(super) id: HubId,
    pub(super) commit: String,
    pub(super) targets: Vec<Target>,
}

impl Plan {
    /// The checkpoint.
    pub fn id(&self) -> &HubId {
        &self.id
    }
}

#[derive(Deserialize)]
struct Info {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: Option<String>,
}

impl Hub {
    /// Finds out what must be fetched. Small: the repository's list, the sizes, `config.json` and the shards' index.
    pub fn plan(&self, id: &HubId, control: &mut Control<'_>) -> Result<Plan, HubError> {
        if self.offline {
            return Err(self.out_of_reach(id, "HF_HUB_OFFLINE forbids to fetch it"));
        }
        let client = Client::new(self, id)?;
        let mut meter = Meter::new(0, 0);
        meter.report(Step::Asking, "", control);
        let info = self.info(&client, id, &mut meter, control)?;
        let listed = |name: &str| info.siblings.iter().find(|s| s.rfilename == name);
        let unsuitable = |why: String| HubError::Unsuitable { id: id.to_string(), why };
        if listed("config.json").is_none() {
            return Err(unsuitable("it has no config.json".into()));
        }
        let mut targets = Vec::new();
        for name in SMALL.iter().filter(|name| listed(name).is_some()) {
            let target = self.target(&client, id, &info, name, &mut meter, control)?;
            if target.size > MOST_SMALL {
                return Err(client.strange(format!("{name} is said to have {} bytes", target.size)));
            }
            targets.push(target);
        }
        let text = |targets: &[Target], name: &str| {
            let path = &targets.iter().find(|t| t.name == name)?.blob;
            Some(std::fs::read_to_string(path).map_err(|source| HubError::Cache { path: path.clone(), source }))
        };
        // What the gigabytes are for is known before they are fetched.
        for target in targets.iter().filter(|t| matches!(t.name.as_str(), "config.json" | SHARD_INDEX)) {
            self.fetch(&client, target, &mut meter, control)?;
        }
        if let Some(config) = text(&targets, "config.json") {
            Config::parse(&config?, "config.json".as_ref()).map_err(|e| unsuitable(e.to_string()))?;
        }
        let weights = if listed(SINGLE).is_some() {
            vec![SINGLE.to_owned()]
        } else if let Some(index) = text(&targets, SHARD_INDEX) {
            shards(&index?).map_err(|why| unsuitable(format!("{SHARD_INDEX} is not a usable shard index: {why}")))?
        } else {
            return Err(unsuitable(format!("it has neither {SINGLE} nor {SHARD_INDEX}")));
        };
        for name in weights {
            if listed(&name).is_none() {
                return Err(unsuitable(format!("{SHARD_INDEX} names {name}, which is not there")));
            }
            targets.push(self.target(&client, id, &info, &name, &mut meter, control)?);
        }
        // A first mark in the cache, as Python's library sets it: from now on there is something to go on with.
        let made = self.cached_repo(id).create_ref(&info.sha);
        made.map_err(|source| HubError::Cache { path: self.folder_of(id).join("refs"), source })?;
        Ok(Plan { id: id.clone(), commit: info.sha, targets })
    }

    /// A plan in plain data, with what is here by now.
    pub fn offer(&self, plan: &Plan) -> Offer {
        let file = |t: &Target| OfferedFile { name: t.name.clone(), bytes: t.size, done_bytes: t.done() };
        let place = self.folder_of(&plan.id);
        Offer {
            id: plan.id.to_string(),
            files: plan.targets.iter().map(file).collect(),
            free_bytes: (self.system.free_bytes)(&place),
            place,
        }
    }

    pub(super) fn out_of_reach(&self, id: &HubId, cause: &str) -> HubError {
        let revision = id.to_string().split_once('@').map(|(_, r)| format!(" --revision {r}")).unwrap_or_default();
        HubError::Offline(Box::new(Offline {
            id: id.to_string(),
            cause: cause.to_owned(),
            command: format!("{}{revision}", id.name()),
            folder: Self::repo(id).folder_name(),
            place: self.cache.clone(),
            missing: self.missing(id),
        }))
    }

    /// The repository's list of files.
    fn info(
        &self,
        client: &Client<'_>,
        id: &HubId,
        meter: &mut Meter,
        control: &mut Control<'_>,
    ) -> Result<Info, HubError> {
        let url = format!("{}/api/{}?blobs=true", self.endpoint, Self::repo(id).api_url());
        let asked = client.patiently("the list of files", FIRST_TRIES, meter, control, |_, _| {
            let once = || {
                let response = client.walk(Method::Get, &url, None, &mut |_, _| Ok(false))?;
                let mut body = response.into_body();
                let bytes = body.with_config().limit(MOST_INFO).read_to_vec().map_err(|e| match e {
                    ureq::Error::BodyExceedsLimit(_) => {
                        client.strange(format!("the list of files has more than {MOST_INFO} bytes")).into()
                    }
                    e => Trouble::Again(e.to_string(), None),
                })?;
                let info: Info = serde_json::from_slice(&bytes)
                    .map_err(|e| client.strange(format!("the list of files cannot be read: {e}")))?;
                Ok(info)
            };
            (false, once())
        });
        let info = asked.map_err(|e| match e {
            HubError::GaveUp { why, .. } => self.out_of_reach(id, &format!("the hub cannot be reached ({why})")),
            e => e,
        })?;
        if info.siblings.len() > MOST_FILES {
            return Err(client.strange(format!("{} files in one repository", info.siblings.len())));
        }
        if !(7..=64).contains(&info.sha.len()) || !info.sha.chars().all(|c| c.is_ascii_hexdigit()) {
            return Err(client.strange(format!("{:?} as a commit", info.sha)));
        }
        // Only files of known names are fetched; a list that tries to leave the folder is not trusted at all.
        let leaves = |name: &str| {
            name.starts_with(['/', '\\']) || name.contains('\0') || name.split(['/', '\\']).any(|part| part == "..")
        };
        match info.siblings.iter().find(|s| leaves(&s.rfilename)) {
            Some(bad) => Err(client.strange(format!("a file named {:?}", bad.rfilename))),
            None => Ok(info),
        }
    }

    /// Asks for what identifies a file.
    fn target(
        &self,
        client: &Client<'_>,
        id: &HubId,
        info: &Info,
        name: &str,
        meter: &mut Meter,
        control: &mut Control<'_>,
    ) -> Result<Target, HubError> {
        let url = format!("{}/{}/resolve/{}/{name}", self.endpoint, id.name(), info.sha);
        let facts = client.patiently(name, TRIES, meter, control, |_, _| {
            let mut facts = Facts::default();
            let walked = client.walk(Method::Head, &url, None, &mut |headers, own| Ok(facts.take(headers, own)));
            (false, walked.map(|_| facts))
        })?;
        let etag = facts.etag.ok_or_else(|| client.strange(format!("no ETag for {name}")))?;
        let size = facts.size.ok_or_else(|| client.strange(format!("no size for {name}")))?;
        // It becomes the name of a file.
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if etag.is_empty() || etag.len() > 128 || !etag.chars().all(plain) {
            return Err(client.strange(format!("{etag:?} as the ETag of {name}")));
        }
        let is_sha256 = |s: &String| s.len() == 64 && s.chars().all(|c| c.is_ascii_hexdigit());
        let listed = || {
            let sibling = info.siblings.iter().find(|s| s.rfilename == name)?;
            sibling.lfs.as_ref()?.sha256.clone()
        };
        let sha256 = Some(etag.clone()).filter(is_sha256).or_else(|| listed().filter(is_sha256));
        let repo = self.cached_repo(id);
        let blob = repo.blob_path(&etag);
        Ok(Target {
            name: name.to_owned(),
            url,
            partial: blob.with_file_name(format!("{etag}.{}", cache::PARTIAL)),
            blob,
            shown: repo.pointer_path(&info.sha).join(name),
            etag,
            size,
            sha256: sha256.map(|s| s.to_ascii_lowercase()),
        })
    }
}

/// What the answers on the way to a file say of it; the hub's own word on a linked file counts most.
#[derive(Default)]
pub(super) struct Facts {
    pub etag: Option<String>,
    pub size: Option<u64>,
    linked: bool,
    own: bool,
}

impl Facts {
    /// Whether the ETag is the hub's word, not that of a store behind it.
    pub(super) fn is_own(&self) -> bool {
        self.linked || self.own
    }

    /// Takes an answer; returns whether all is known.
    pub(super) fn take(&mut self, headers: &HeaderMap, own: bool) -> bool {
        let etag = |name| header(headers, name).map(|e| e.trim_start_matches("W/").trim_matches('"').to_owned());
        let size = |name| header(headers, name).and_then(|s| s.parse().ok());
        if own && let Some(linked) = etag("x-linked-etag") {
            (self.etag, self.size) = (Some(linked), size("x-linked-size"));
            self.linked = true;
        }
        if !headers.contains_key("location") {
            if self.etag.is_none() {
                self.etag = etag("etag");
                self.own = own;
            }
            if self.size.is_none() {
                self.size = size("content-length");
            }
        }
        self.linked && self.size.is_some()
    }
}
