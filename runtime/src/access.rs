//! Who may use the API: tokens and what they permit, the names of the server, and the addresses of callers.
//!
//! [`Access`] is asked with what a call brings in its head, and answers before the body is read and before the store is
//! asked. The module `api` makes HTTP answers of these answers. Tokens come from the settings and from the store. The
//! settings can be replaced as a whole while the server runs; the tokens of the store change one by one.

mod client_address;
mod failures;
mod host_pattern;
mod last_use;
mod manage;
mod rate;
mod registry;
mod secret;
mod sessions;
mod token;

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use ipnet::IpNet;

pub(crate) use self::client_address::{ClientAddress, OverHttps};
use self::failures::Failures;
pub(crate) use self::host_pattern::{HostPattern, NotAHost};
pub(crate) use self::manage::{Created, ManageError, TokenRequest, TokenView, create, list, parse_time, revoke};
pub(crate) use self::rate::{Left, NotARate, Rate};
use self::registry::Registry;
pub(crate) use self::registry::Unauthenticated;
use self::secret::Presented;
pub(crate) use self::secret::{HashText, NewSecret};
pub(crate) use self::sessions::{Session, Sessions};
pub(crate) use self::token::{Caller, Denied, Scope, Source, Terms, TokenInfo};
use postback_store::{self as store, Store};
use postback_wire::time::Clock;

/// Whether callers need tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Auth {
    /// Callers need tokens as soon as there is one. Without any token, the server listens on loopback only.
    Tokens,
    /// Callers need no tokens, because a gateway in front of the server checks who they are.
    None,
}

/// What is served without a token beside `/healthz` and `/readyz`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Public {
    pub(crate) openapi: bool,
    pub(crate) metrics: bool,
}

/// Which web pages may call the API from a browser.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Origins {
    #[default]
    None,
    Any,
    /// The pages of these origins, such as `https://app.example.com`.
    Listed(Vec<HeaderValue>),
}

impl Origins {
    pub(crate) fn contains(&self, origin: &HeaderValue) -> bool {
        match self {
            Self::None => false,
            Self::Any => true,
            Self::Listed(origins) => origins.contains(origin),
        }
    }
}

/// What the settings say about access. The module `settings` has checked the values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) auth: Auth,
    pub(crate) tokens: Vec<TokenInfo>,
    /// The names of the server. Loopback names and IP addresses count in any case.
    pub(crate) hosts: Vec<HostPattern>,
    pub(crate) trusted_proxies: Vec<IpNet>,
    pub(crate) public: Public,
    pub(crate) cors_origins: Origins,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            auth: Auth::Tokens,
            tokens: Vec::new(),
            hosts: Vec::new(),
            trusted_proxies: Vec::new(),
            public: Public::default(),
            cors_origins: Origins::None,
        }
    }
}

/// The reason why the server must not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(
        "the server must not listen on {0}, where others can reach it, because there is no token; make one with \
         `tokens new NAME` or [[server.token]], set server.listen to a loopback address, or set server.auth = \"none\" if \
         a gateway in front of the server checks its callers"
    )]
    NoToken(SocketAddr),
    #[error(
        "nothing says who may call the router: make a token with `tokens new NAME` or [[server.token]], call \
         `listens_on` if the service listens on a loopback address, or call `without_tokens` if the service checks its \
         callers"
    )]
    NoTokenForRouter,
    #[error("the tokens cannot be read from the store")]
    Store(#[source] store::Error),
}

/// Decides who may use the API.
pub(crate) struct Access {
    clock: Clock,
    options: RwLock<Arc<Options>>,
    registry: Registry,
    /// Whether there is a token, or was one since the start. Otherwise the revocation of the last token would open the
    /// server.
    has_tokens: AtomicBool,
    failures: Failures,
}

impl Access {
    /// Makes an `Access` that knows the tokens of the settings and of the store. Fails if others can reach the address
    /// `listen` and nothing says who they are. `None`: it is not known where the program listens.
    pub(crate) async fn start(
        options: &Options,
        store: &Store,
        clock: Clock,
        listen: Option<SocketAddr>,
    ) -> Result<Arc<Self>, StartError> {
        let access = Self::new(options, clock);
        let records = store.tokens().await.map_err(StartError::Store)?;
        access.registry.has_changed(&records);
        records.iter().filter_map(manage::known).for_each(|token| access.add(token));
        // A token that this version cannot read is a token, too: without it the server would be open to all.
        if !records.is_empty() {
            access.has_tokens.store(true, Ordering::Release);
        }
        access.check(options, listen)?;
        Ok(Arc::new(access))
    }

    /// Checks whether these options would let everybody in without the operator's will: others can reach the address
    /// `listen`, and nothing says who they are.
    pub(crate) fn check(&self, options: &Options, listen: Option<SocketAddr>) -> Result<(), StartError> {
        let has_tokens = self.has_tokens.load(Ordering::Acquire) || !options.tokens.is_empty();
        if has_tokens || options.auth == Auth::None {
            return Ok(());
        }
        match listen {
            Some(listen) if listen.ip().to_canonical().is_loopback() => Ok(()),
            Some(listen) => Err(StartError::NoToken(listen)),
            None => Err(StartError::NoTokenForRouter),
        }
    }

    fn new(options: &Options, clock: Clock) -> Self {
        let access = Self {
            clock,
            options: RwLock::default(),
            registry: Registry::default(),
            has_tokens: AtomicBool::new(false),
            failures: Failures::new(),
        };
        access.replace(options);
        access
    }

    /// Replaces everything that the settings say about access. The tokens of the store stay.
    pub(crate) fn replace(&self, options: &Options) {
        self.registry.replace_settings(options.tokens.clone());
        *self.options.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(options.clone());
        if !self.registry.is_empty() {
            self.has_tokens.store(true, Ordering::Release);
        }
    }

    /// Reads the tokens of the store again, because another node on the same database may have made or revoked some.
    pub(crate) async fn read_again(&self, store: &Store) -> Result<(), store::Error> {
        let records = store.tokens().await?;
        if self.registry.has_changed(&records) {
            self.registry.replace_store(records.iter().filter_map(manage::known).collect());
            if !records.is_empty() {
                self.has_tokens.store(true, Ordering::Release);
            }
            tracing::info!("the tokens in the database have changed; there are {} now", records.len());
        }
        Ok(())
    }

    fn add(&self, token: TokenInfo) {
        let (id, name) = (Arc::clone(&token.id), token.name.clone());
        if !self.registry.add(token) {
            tracing::warn!(
                "the token {id} ({name}) of the store is not used, because [[server.token]] has the same id"
            );
        }
        self.has_tokens.store(true, Ordering::Release);
    }

    pub(crate) fn options(&self) -> Arc<Options> {
        Arc::clone(&self.options.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether callers need a token now.
    pub(crate) fn needs_tokens(&self) -> bool {
        self.has_tokens.load(Ordering::Acquire) && self.options().auth == Auth::Tokens
    }

    /// Returns all tokens that the server knows.
    pub(crate) fn tokens(&self) -> Vec<Arc<TokenInfo>> {
        self.registry.all()
    }

    /// Finds out who makes a call, from the head of the call.
    pub(crate) fn caller(&self, headers: &HeaderMap) -> Result<Caller, Unauthenticated> {
        if !self.needs_tokens() {
            return Ok(Caller::default());
        }
        let now = self.clock.now();
        let token = self.registry.find(presented(headers)?, now)?;
        token.used(now);
        Ok(Caller { token: Some(token) })
    }

    /// Whether a caller that was let in before would be let in again: its token was neither revoked, nor replaced, and
    /// has not expired.
    pub(crate) fn is_still_valid(&self, caller: &Caller) -> bool {
        let Some(token) = &caller.token else { return !self.needs_tokens() };
        self.registry
            .get(&token.id)
            .is_some_and(|now| now.hash == token.hash && now.revoked.is_none() && !now.is_expired(self.clock.now()))
    }

    /// Counts a call against the rate of its token. `None`: the token has no rate.
    pub(crate) fn count(&self, caller: &Caller) -> Option<Left> {
        let token = caller.token.as_ref()?;
        Some(token.live.limiter.count(token.terms.rate?, self.clock.elapsed()))
    }

    /// Counts a call without a valid token. Returns how long the caller should wait, if too many calls of its address
    /// have failed.
    pub(crate) fn failed(&self, client: ClientAddress, why: &Unauthenticated) -> Option<Duration> {
        self.failures.met(client, why.reason(), self.clock.elapsed())
    }

    /// Returns the address of the caller whose connection comes from `peer`.
    pub(crate) fn client_address(&self, peer: IpAddr, headers: &HeaderMap) -> ClientAddress {
        ClientAddress::of(peer, headers, &self.options().trusted_proxies)
    }

    /// Finds out whether the caller whose connection comes from `peer` speaks https.
    pub(crate) fn over_https(&self, peer: IpAddr, headers: &HeaderMap) -> OverHttps {
        OverHttps::of(peer, headers, &self.options().trusted_proxies)
    }

    /// Whether the server is called by one of its names. A page of another site can lead its own name to this server's
    /// address (DNS rebinding), but it cannot send another name than its own. It cannot send an IP address as the name
    /// of another site either, so each IP address counts as a name of the server.
    pub(crate) fn is_own_host(&self, host: &str) -> bool {
        let name = host.strip_suffix('.').unwrap_or(host);
        let literal = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
        let is_localhost = || {
            let below = name.len().checked_sub(".localhost".len()).and_then(|at| name.get(at..));
            name.eq_ignore_ascii_case("localhost") || below.is_some_and(|end| end.eq_ignore_ascii_case(".localhost"))
        };
        literal.parse::<IpAddr>().is_ok()
            || is_localhost()
            || self.options().hosts.iter().any(|pattern| pattern.matches(name))
    }
}

/// Returns the token in the header `authorization`.
fn presented(headers: &HeaderMap) -> Result<Presented<'_>, Unauthenticated> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(Unauthenticated::Missing)?;
    if values.next().is_some() {
        return Err(Unauthenticated::Scheme);
    }
    let text = value.to_str().map_err(|_| Unauthenticated::Scheme)?;
    let (scheme, token) = text.split_once(' ').ok_or(Unauthenticated::Scheme)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Unauthenticated::Scheme);
    }
    Ok(Presented::parse(token.trim())?)
}

#[cfg(test)]
mod tests;
