//! Requests to the hub: redirects, what an answer's status means, and trying again. Knows nothing of files and caches.

use std::path::Path;
use std::time::Duration;

use ureq::http::{HeaderMap, Response, Uri};
use ureq::tls::{PemItem, RootCerts, TlsConfig};
use ureq::{Agent, Body};

use super::{Control, Hub, HubError, HubId};
use crate::download::Step;

use super::meter::Meter;

/// Tries without progress before giving up.
pub(super) const TRIES: u32 = 6;
/// Tries before a hub counts as out of reach, where nothing was fetched yet.
pub(super) const FIRST_TRIES: u32 = 3;
/// Longest pause between two tries, also where the hub asks for more.
const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// A pause is taken in pieces, so that a stop is noticed.
const WAIT_PIECE: Duration = Duration::from_millis(100);
/// Redirects that are followed.
const REDIRECTS: usize = 5;
/// Longest silence of a connection that is taken for life.
const SILENCE: Duration = Duration::from_secs(30);

/// Why a request did not give what was asked for.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Worth another try: what happened, and the pause that the hub asks for.
    Again(String, Option<Duration>),
    /// The same would happen again.
    Final(HubError),
}

impl From<HubError> for Trouble {
    fn from(error: HubError) -> Self {
        Self::Final(error)
    }
}

/// `GET` or `HEAD`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Head,
}

/// Speaks to one hub for one repository.
pub(super) struct Client<'a> {
    hub: &'a Hub,
    id: HubId,
    origin: String,
    agent: Agent,
}

impl<'a> Client<'a> {
    pub(super) fn new(hub: &'a Hub, id: &HubId) -> Result<Self, HubError> {
        let bad = |why| HubError::BadEndpoint { endpoint: hub.endpoint.clone(), why };
        let uri: Uri = hub.endpoint.parse().map_err(|_| bad("it cannot be read"))?;
        if uri.query().is_some() || uri.authority().is_some_and(|a| a.as_str().contains('@')) {
            return Err(bad("it must be no more than http(s)://host/path"));
        }
        let origin = origin(&uri).ok_or_else(|| bad("it does not start with http:// or https://"))?;
        let roots = hub.authorities.as_deref().map_or(Ok(RootCerts::WebPki), authorities)?;
        let agent = Agent::config_builder()
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .http_status_as_error(false)
            // Followed here: the token goes to the hub only, and what the hub itself says of a file stands in its redirect.
            .max_redirects(0)
            .user_agent(concat!("modalens/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .timeout_connect(Some(SILENCE))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .build()
            .new_agent();
        Ok(Self { hub, id: id.clone(), origin, agent })
    }

    pub(super) fn strange(&self, why: impl Into<String>) -> HubError {
        HubError::Strange { endpoint: self.hub.endpoint.clone(), why: why.into() }
    }

    fn send(&self, method: Method, url: &Uri, range_from: Option<u64>) -> Result<Response<Body>, Trouble> {
        let mut request = match method {
            Method::Get => self.agent.get(url),
            Method::Head => self.agent.head(url),
        };
        if let (Some(token), Some(true)) = (&self.hub.token, origin(url).map(|o| o == self.origin)) {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(from) = range_from {
            request = request.header("range", format!("bytes={from}-"));
        }
        // What runs on this machine is never behind a proxy.
        let here = url.host().is_some_and(|h| matches!(h, "localhost" | "127.0.0.1" | "[::1]"));
        let sent = if here { request.config().proxy(None).build().call() } else { request.call() };
        sent.map_err(|e| match e {
            e if let Some(why) = distrust(&e) => {
                HubError::NotTrusted { host: url.host().unwrap_or_default().to_owned(), why }.into()
            }
            ureq::Error::Http(_) | ureq::Error::BadUri(_) => self.strange(format!("{e} ({})", told(url))).into(),
            e => Trouble::Again(said(url, &e.to_string()), None),
        })
    }

    /// Sends a request and follows redirects. `hop` sees every answer with whether the hub itself gave it, and may end
    /// the walk with `true`; its answer is then returned as it is.
    pub(super) fn walk(
        &self,
        method: Method,
        url: &str,
        range_from: Option<u64>,
        hop: &mut dyn FnMut(&HeaderMap, bool) -> Result<bool, Trouble>,
    ) -> Result<Response<Body>, Trouble> {
        let mut at: Uri = url.parse().map_err(|_| self.strange(format!("an address that cannot be read ({url})")))?;
        for _ in 0..=REDIRECTS {
            let response = self.send(method, &at, range_from)?;
            let own = origin(&at).is_some_and(|o| o == self.origin);
            let status = response.status().as_u16();
            if !matches!(status, 200 | 206 | 301 | 302 | 303 | 307 | 308) {
                return match self.verdict(status, own, &at, response.headers()) {
                    None => Ok(response),
                    Some(trouble) => Err(trouble),
                };
            }
            if hop(response.headers(), own)? || status < 300 {
                return Ok(response);
            }
            let location =
                header(response.headers(), "location").ok_or_else(|| self.strange("a redirect to nowhere"))?;
            let next =
                join(&at, location).ok_or_else(|| self.strange(format!("a redirect to {:?}", bare(location))))?;
            if at.scheme_str() == Some("https") && next.scheme_str() != Some("https") {
                return Err(self.strange(format!("a redirect from https to {}", told(&next))).into());
            }
            at = next;
        }
        Err(self.strange(format!("more than {REDIRECTS} redirects ({url})")).into())
    }

    /// What a status that is no success means; `None` for 416, which only its caller understands.
    fn verdict(&self, status: u16, own: bool, url: &Uri, headers: &HeaderMap) -> Option<Trouble> {
        let endpoint = self.hub.endpoint.clone();
        let again = || {
            let asked = header(headers, "retry-after").and_then(|s| s.trim().parse().ok()).map(Duration::from_secs);
            Some(Trouble::Again(said(url, &format!("HTTP {status}")), asked))
        };
        Some(Trouble::Final(match status {
            416 => return None,
            401 | 403 if own => HubError::Refused {
                id: self.id.to_string(),
                endpoint,
                page: self.id.name().to_owned(),
                status,
                had_token: self.hub.token.is_some(),
            },
            404 | 410 if own => HubError::NotThere { id: self.id.to_string(), endpoint },
            // A signed address of a store that has expired: the hub gives a new one.
            400 | 401 | 403 if !own => return again(),
            408 | 425 | 429 | 500..=599 => return again(),
            _ => self.strange(format!("HTTP {status} ({})", told(url))),
        }))
    }

    /// Does `work` until it succeeds, fails for good, or failed too often in a row; `work` says whether it got further.
    pub(super) fn patiently<T>(
        &self,
        file: &str,
        most: u32,
        meter: &mut Meter,
        control: &mut Control<'_>,
        mut work: impl FnMut(&mut Meter, &mut Control<'_>) -> (bool, Result<T, Trouble>),
    ) -> Result<T, HubError> {
        let (mut failed, mut tries) = (0, 0);
        loop {
            control.check()?;
            let (further, result) = work(meter, control);
            let (why, asked) = match result {
                Ok(value) => return Ok(value),
                Err(Trouble::Final(e)) => return Err(e),
                Err(Trouble::Again(why, asked)) => (why, asked),
            };
            control.check()?;
            tries += 1;
            failed = if further { 1 } else { failed + 1 };
            if failed >= most {
                return Err(HubError::GaveUp { file: file.to_owned(), why, tries });
            }
            let wait = asked.unwrap_or_else(|| Duration::from_secs(1 << (failed - 1).min(5))).min(LONGEST_WAIT);
            let step = Step::Waiting { attempt: failed, of: most, secs: wait.as_secs_f64(), why };
            meter.report(step, file, control);
            let mut left = wait;
            while !left.is_zero() {
                let piece = left.min(WAIT_PIECE);
                (self.hub.system.wait)(piece);
                control.check()?;
                left -= piece;
            }
        }
    }
}

/// A header as text.
pub(super) fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// An address without its query: that of a store is signed, and a message may be shown to anyone.
fn told(url: &Uri) -> String {
    bare(&url.to_string()).to_owned()
}

fn bare(address: &str) -> &str {
    address.split('?').next().unwrap_or_default()
}

/// Why a server's certificate is not trusted, if that is what went wrong.
fn distrust(error: &ureq::Error) -> Option<String> {
    let ureq::Error::Io(error) = error else { return None };
    match error.get_ref()?.downcast_ref()? {
        rustls::Error::InvalidCertificate(why) => Some(why.to_string()),
        _ => None,
    }
}

/// The certificates of a PEM file.
fn authorities(path: &Path) -> Result<RootCerts, HubError> {
    let bad = |why: String| HubError::BadAuthorities { path: path.to_owned(), why };
    let text = std::fs::read(path).map_err(|e| bad(e.to_string()))?;
    let mut found = Vec::new();
    for item in ureq::tls::parse_pem(&text) {
        if let PemItem::Certificate(certificate) = item.map_err(|e| bad(e.to_string()))? {
            found.push(certificate);
        }
    }
    if found.is_empty() { Err(bad("no certificate in PEM form".to_owned())) } else { Ok(RootCerts::from(found)) }
}

fn said(url: &Uri, what: &str) -> String {
    format!("{}: {what}", url.host().unwrap_or_default())
}

/// Scheme, host and port of an address over HTTP.
fn origin(url: &Uri) -> Option<String> {
    let scheme = url.scheme_str().filter(|s| matches!(*s, "http" | "https"))?;
    let host = url.host()?.to_ascii_lowercase();
    let port = url.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
    Some(format!("{scheme}://{host}:{port}"))
}

/// The address that a redirect at `base` names; `None` where it is none over HTTP.
fn join(base: &Uri, location: &str) -> Option<Uri> {
    let scheme = base.scheme_str()?;
    let whole = if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{}{location}", base.authority()?)
    } else {
        location.to_owned()
    };
    let uri: Uri = whole.parse().ok()?;
    origin(&uri).map(|_| uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_stay_on_http() {
        let base: Uri = "https://hub.example:8443/a/b?c=d".parse().unwrap();
        let to = |location: &str| join(&base, location).map(|u| u.to_string());
        assert_eq!(to("/x?y=z").as_deref(), Some("https://hub.example:8443/x?y=z"));
        assert_eq!(to("//cdn.example/x").as_deref(), Some("https://cdn.example/x"));
        assert_eq!(to("https://cdn.example/x").as_deref(), Some("https://cdn.example/x"));
        for bad in ["file:///etc/passwd", "ftp://a/b", "x/y", "", "http://"] {
            assert_eq!(to(bad), None, "{bad}");
        }
        assert_eq!(origin(&"HTTPS://Hub.Example/a".parse().unwrap()).as_deref(), Some("https://hub.example:443"));
    }
}
