//! Text to checked values: a TOML file, then the environment, then flags.
//!
//! Invariants: below this module nobody parses text that an operator wrote; no message repeats a value.

mod check;
mod de;
mod error;
mod nearest;
mod read;
mod sources;
mod tree;
mod trouble;
mod user;
mod warnings;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use url::Url;

pub(crate) use self::check::KEYS;
pub(crate) use self::error::{Error, Errors};
pub(crate) use self::sources::Sources;
pub(crate) use self::user::{User, WEBHOOK_URL};
use crate::policy::destination::{Destination, Destinations};
use crate::policy::guard::Nat64;
use crate::policy::schedule::Schedule;
use crate::secret::Secret;
use crate::telemetry::Log;
use crate::webhook::{Shown, Webhook};
use crate::{api, store, worker};

/// Everything that an operator may set, checked.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) server: api::Options,
    pub(crate) store: store::Options,
    /// How long finished requests and reports are kept.
    pub(crate) retention: Duration,
    pub(crate) worker: worker::Options,
    pub(crate) delivery: Delivery,
    pub(crate) log: Log,
    /// How long running work may go on after the signal to stop.
    pub(crate) grace: Duration,
    /// The table `[config]`.
    pub(crate) user: User,
    /// The file that was read, if there was one.
    pub(crate) origin: Option<PathBuf>,
    /// What is allowed and yet probably not meant, for the operator to read.
    pub(crate) warnings: Vec<String>,
}

impl Settings {
    /// What is trusted: each `[[delivery.endpoint]]`, and `config.webhook_url` if it is a URL.
    pub(crate) fn destinations(&self) -> Destinations {
        let of_config = self.user.webhook_url().and_then(|url| Webhook::new(url).ok()).map(|webhook| Destination {
            url: webhook.url().clone(),
            secrets: Vec::new(),
            private: true,
        });
        let endpoints = self.delivery.endpoints.iter().map(|at| {
            let is_of_config = || of_config.as_ref().is_some_and(|config| config.url == at.url);
            let private = at.private.unwrap_or_else(is_of_config);
            Destination { url: at.url.clone(), secrets: at.secrets.clone(), private }
        });
        // Of two that are the same the first is found, and the endpoint may have secrets of its own.
        let mut all: Vec<_> = endpoints.collect();
        all.extend(of_config);
        Destinations::new(all, &self.delivery.secrets)
    }

    /// Trusts this URL and the paths below it, as `[[delivery.endpoint]]` does. What is no URL is trusted in vain.
    pub(crate) fn trust(&mut self, url: &str) {
        self.delivery.endpoints.extend(Url::parse(url).map(|url| Endpoint {
            url,
            secrets: Vec::new(),
            private: Some(true),
            concurrency: None,
        }));
    }
}

/// How reports go out.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    /// All of them sign: that is how they are rotated.
    pub(crate) secrets: Vec<Secret>,
    /// The pause before each try.
    pub(crate) schedule: Schedule,
    /// The longest that one try may take.
    pub(crate) timeout: Duration,
    /// Tries at once, at least 1.
    pub(crate) concurrency: usize,
    /// Tries at once to one endpoint, at most `concurrency`.
    pub(crate) per_origin: usize,
    /// Private networks that any webhook may go to.
    pub(crate) allow_networks: Vec<IpNet>,
    /// Networks that no webhook may go to.
    pub(crate) deny_networks: Vec<IpNet>,
    /// Behind which the site's NAT64 has IPv4 addresses.
    pub(crate) nat64_prefixes: Vec<Nat64>,
    /// Certificates that are trusted besides the usual ones.
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) endpoints: Vec<Endpoint>,
}

/// A trusted destination: this URL and the paths below it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) url: Url,
    /// Empty: those of the delivery.
    pub(crate) secrets: Vec<Secret>,
    /// Whether it may be on a private network; `None`: if it is `config.webhook_url`.
    pub(crate) private: Option<bool>,
    /// Tries at once to its scheme, host and port; `None`: that of the delivery.
    pub(crate) concurrency: Option<usize>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, secrets, private, concurrency } = self;
        let (url, secrets) = (Shown(url), secrets.len());
        write!(f, "Endpoint({url}, {secrets} secrets, private {private:?}, concurrency {concurrency:?})")
    }
}

/// Reads and checks all settings; several mistakes are told together. Where there are some, `of_user` is asked for one more in
/// the table `[config]`, whose type is not known here.
pub(crate) fn load(sources: Sources, of_user: impl FnOnce(&User) -> Option<Error>) -> Result<Settings, Errors> {
    check::check(sources::gather(sources)?, of_user)
}

/// The same for a file and variables that are not there; for `tests/fuzz`.
#[cfg(fuzzing)]
pub(crate) fn load_text(file: &str, variables: Vec<(String, String)>) -> Result<Settings, Errors> {
    check::check(sources::gather_text(file, variables)?, |_| None)
}

#[cfg(test)]
mod tests;
