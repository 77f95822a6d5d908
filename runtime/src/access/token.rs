//! A token: its name, what it permits, and its bounds.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use serde::{Deserialize, Serialize};
use url::Url;

use super::host_pattern::HostPattern;
use super::rate::{Limiter, Rate};
use super::secret::Hash;
use postback_store::Owner;
use postback_wire::time::Timestamp;

/// What a caller may do with the requests of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Scope {
    /// Submit requests.
    Submit,
    /// Read the state, the result and the events of requests, and list them.
    Read,
    /// Cancel requests.
    Cancel,
}

impl Scope {
    pub(crate) const ALL: [Self; 3] = [Self::Submit, Self::Read, Self::Cancel];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Read => "read",
            Self::Cancel => "cancel",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a token permits, and its bounds. The store keeps the terms of its tokens as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Terms {
    pub(crate) scopes: BTreeSet<Scope>,
    /// The routes that the token may use. An empty list means all routes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) routes: Vec<String>,
    /// The hosts that the callers' own webhooks may name. An empty list means all hosts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) webhook_hosts: Vec<HostPattern>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rate: Option<Rate>,
    /// The largest number of this token's requests that wait for a run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_queued: Option<u64>,
    /// The largest number of bytes of this token's requests that wait for a run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_queued_bytes: Option<u64>,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            scopes: Scope::ALL.into(),
            routes: Vec::new(),
            webhook_hosts: Vec::new(),
            rate: None,
            max_queued: None,
            max_queued_bytes: None,
        }
    }
}

/// Where a token was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Source {
    /// In the settings, as `[[server.token]]`. Only the settings change it.
    Settings,
    /// By `tokens new` or the admin API.
    Store,
}

/// A token that the server knows.
#[derive(Clone, Debug)]
pub(crate) struct TokenInfo {
    pub(crate) id: Arc<str>,
    pub(crate) name: String,
    pub(crate) hash: Hash,
    pub(crate) source: Source,
    pub(crate) terms: Terms,
    pub(crate) created: Option<Timestamp>,
    pub(crate) expires: Option<Timestamp>,
    /// When the token was revoked. A revoked token stays known, so that its callers are told why they are refused.
    pub(crate) revoked: Option<Timestamp>,
    /// What changes with each call. A reload of the settings keeps it.
    pub(super) live: Arc<Live>,
}

/// What changes with each call of a token.
#[derive(Debug, Default)]
pub(super) struct Live {
    pub(super) limiter: Limiter,
    /// The time of the last call, in µs since 1970. 0: there was none since the start.
    pub(super) used: AtomicI64,
    /// The last use that is written to the store.
    pub(super) written: AtomicI64,
}

/// Two tokens are equal if the same was said about them. Their last use does not count.
impl PartialEq for TokenInfo {
    fn eq(&self, other: &Self) -> bool {
        let said = |token: &Self| (token.source, token.created, token.expires, token.revoked);
        self.id == other.id
            && self.name == other.name
            && self.hash == other.hash
            && self.terms == other.terms
            && said(self) == said(other)
    }
}

impl Eq for TokenInfo {}

impl TokenInfo {
    pub(crate) fn new(id: &str, name: &str, hash: Hash, source: Source, terms: Terms) -> Self {
        Self {
            id: id.into(),
            name: name.to_owned(),
            hash,
            source,
            terms,
            created: None,
            expires: None,
            revoked: None,
            live: Arc::default(),
        }
    }

    /// Whether a caller with this token may do this with requests of this route.
    pub(crate) fn permits(&self, scope: Scope, route: &str) -> Result<(), Denied> {
        if !self.terms.routes.is_empty() && !self.terms.routes.iter().any(|known| known == route) {
            return Err(Denied::Route);
        }
        if self.terms.scopes.contains(&scope) { Ok(()) } else { Err(Denied::Scope(scope)) }
    }

    /// Returns the routes of the token that the program does not have.
    pub(crate) fn unknown_routes(&self, has: impl Fn(&str) -> bool) -> impl Iterator<Item = &str> {
        self.terms.routes.iter().map(String::as_str).filter(move |route| !has(route))
    }

    /// Whether a webhook that a caller with this token brings may name this host.
    pub(crate) fn may_report_to(&self, host: &str) -> bool {
        self.terms.webhook_hosts.is_empty() || self.terms.webhook_hosts.iter().any(|pattern| pattern.matches(host))
    }

    pub(super) fn is_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    /// Records a call with this token.
    pub(super) fn used(&self, now: Timestamp) {
        self.live.used.store(now.micros(), Ordering::Relaxed);
    }

    /// Returns the time of the last call with this token since the start of the process.
    pub(super) fn last_used(&self) -> Option<Timestamp> {
        let micros = self.live.used.load(Ordering::Relaxed);
        (micros != 0).then(|| Timestamp::from_micros(micros))
    }
}

/// The reason why a token does not permit a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// The token is not for this route.
    Route,
    /// The token does not have this scope.
    Scope(Scope),
}

/// Who makes a call of the API.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caller {
    /// The token of the call. `None`: the server asks for no token, so all callers are one.
    pub(crate) token: Option<Arc<TokenInfo>>,
}

impl Caller {
    /// Returns the id of the caller's token. It is stored as the owner of the caller's requests. Returns an empty text
    /// if the caller has no token.
    pub(crate) fn owner(&self) -> Owner {
        self.token.as_ref().map(|token| Arc::clone(&token.id)).unwrap_or_default()
    }

    /// Returns the owner whose requests the caller may see. `None`: those of all owners, because no token is asked for,
    /// so all callers are one.
    pub(crate) fn sees(&self) -> Option<&str> {
        self.token.as_ref().map(|token| &*token.id)
    }

    /// Whether a request with this owner is a request of this caller.
    pub(crate) fn owns(&self, owner: &str) -> bool {
        self.sees().is_none_or(|own| own == owner)
    }

    /// Whether a webhook that the caller brings may go to this URL.
    pub(crate) fn may_report_to(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default();
        self.token.as_ref().is_none_or(|token| token.may_report_to(host))
    }

    /// Whether the caller may do this with requests of this route.
    pub(crate) fn permits(&self, scope: Scope, route: &str) -> Result<(), Denied> {
        self.token.as_ref().map_or(Ok(()), |token| token.permits(scope, route))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::secret::NewSecret;

    fn token(terms: Terms) -> TokenInfo {
        TokenInfo::new("0123456789", "ci", NewSecret::generate().unwrap().hash(), Source::Store, terms)
    }

    #[test]
    fn scopes_and_routes_are_both_asked() {
        let routes = vec!["/a".to_owned(), "/b/c".to_owned()];
        let token = token(Terms { scopes: [Scope::Submit, Scope::Read].into(), routes, ..Terms::default() });
        assert_eq!(token.permits(Scope::Submit, "/a"), Ok(()));
        assert_eq!(token.permits(Scope::Read, "/b/c"), Ok(()));
        assert_eq!(token.permits(Scope::Cancel, "/a"), Err(Denied::Scope(Scope::Cancel)));
        for other in ["/b", "/a/", "/ab", "/"] {
            assert_eq!(token.permits(Scope::Submit, other), Err(Denied::Route), "{other}");
        }
    }

    #[test]
    fn a_caller_owns_what_its_token_made_and_without_tokens_all() {
        let (open, caller) = (Caller::default(), Caller { token: Some(Arc::new(token(Terms::default()))) });
        assert!(caller.owns("0123456789") && &*caller.owner() == "0123456789");
        assert!(!caller.owns("other") && !caller.owns(""));
        assert!(open.owns("") && open.owns("other") && open.owner().is_empty());
    }

    #[test]
    fn terms_go_through_json_and_older_json_is_read() {
        let terms = Terms {
            scopes: [Scope::Read].into(),
            routes: vec!["/a".to_owned()],
            webhook_hosts: vec!["*.example.com".parse().unwrap()],
            rate: Some("100/min".parse().unwrap()),
            max_queued: Some(5),
            max_queued_bytes: Some(6),
        };
        let json = serde_json::to_string(&terms).unwrap();
        assert_eq!(serde_json::from_str::<Terms>(&json).unwrap(), terms);
        assert_eq!(serde_json::from_str::<Terms>("{}").unwrap(), Terms::default());
    }
}
