//! Names of repositories, checked before they become addresses and folders. Knows nothing of either.

use std::fmt;
use std::str::FromStr;

use super::HubError;

/// `organisation/name`, and which revision of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HubId {
    name: String,
    revision: String,
}

/// The revision that is meant when none is named.
const MAIN: &str = "main";
/// Longest part of a name that hubs accept.
const LONGEST: usize = 96;

impl HubId {
    /// `organisation/name`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A branch, a tag or a commit.
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// Whether a text can only be meant as a hub id, not as a folder.
    pub fn is_meant(text: &str) -> bool {
        let name = text.split('@').next().unwrap_or_default();
        name.split('/').count() == 2 && !text.starts_with(['.', '/', '~']) && !text.contains('\\')
    }
}

impl FromStr for HubId {
    type Err = HubError;

    fn from_str(text: &str) -> Result<Self, HubError> {
        let bad = || HubError::BadId(text.to_owned());
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let part = |part: &str| {
            (1..=LONGEST).contains(&part.len())
                && part.chars().all(plain)
                && !part.starts_with(['.', '-'])
                && !part.ends_with(['.', '-'])
                // `--` stands for `/` in the cache.
                && !part.contains("--")
                && !part.contains("..")
        };
        let (name, revision) = text.split_once('@').unwrap_or((text, MAIN));
        let (organisation, model) = name.split_once('/').ok_or_else(bad)?;
        let revision_parts = revision.split('/').all(part);
        if !part(organisation) || !part(model) || !revision_parts || revision.len() > LONGEST {
            return Err(bad());
        }
        Ok(Self { name: name.to_owned(), revision: revision.to_owned() })
    }
}

impl fmt::Display for HubId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if self.revision == MAIN { Ok(()) } else { write!(f, "@{}", self.revision) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_the_cache_are_refused() {
        for good in ["Qwen/Qwen2.5-Omni-3B", "a/b@v1.0", "a/b@refs/pr/3", "some_one/model.v2"] {
            assert_eq!(good.parse::<HubId>().unwrap().to_string(), good);
            assert!(HubId::is_meant(good));
        }
        assert_eq!("a/b@main".parse::<HubId>().unwrap().to_string(), "a/b");
        for bad in [
            "a", "a/", "/b", "a/..", "../b", "a/b/c", "a/b@", "a/b@../x", "a/b@x//y", "a/b@/x", "a--b/c", "a/b c",
            "a/b?x", "a/b#x", "a/.b", "a/b@x@y", "ä/b", "a/b@x y", "a\\b/c",
        ] {
            assert!(matches!(bad.parse::<HubId>(), Err(HubError::BadId(_))), "{bad}");
        }
        for folder in ["./a", "../a", "~/a", "/a", "a", "a/b/c"] {
            assert!(!HubId::is_meant(folder), "{folder}");
        }
    }
}
