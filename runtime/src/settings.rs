//! Settings: text from a TOML file, from the environment and from flags becomes checked values.
//!
//! Invariants: no module below this one parses text that an operator wrote. No message repeats a value, because the
//! value may be a secret.

mod check;
mod config_table;
mod deserializer;
mod error;
mod keys;
mod mismatch;
mod read;
mod section;
mod set_by;
mod sources;
mod suggestion;
mod tree;
mod variables;
mod warnings;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use url::Url;

pub(crate) use self::config_table::{ConfigTable, WEBHOOK_URL};
pub(crate) use self::error::{Error, Errors};
#[cfg(fuzzing)]
pub(crate) use self::keys::KEYS;
pub(crate) use self::sources::Sources;
use crate::policy::destination::{Destination, Destinations};
use crate::policy::guard::Nat64;
use crate::policy::schedule::Schedule;
use crate::telemetry::Log;
use crate::{api, worker};
use postback_store as store;
use postback_wire::secret::Secret;
use postback_wire::webhook::{Shown, Webhook};

/// All settings, checked.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) server: api::Options,
    pub(crate) store: store::Options,
    /// How long finished requests and their deliveries are kept.
    pub(crate) retention: Duration,
    pub(crate) worker: worker::Options,
    pub(crate) delivery: Delivery,
    pub(crate) log: Log,
    /// How long runs may go on after the signal to stop.
    pub(crate) grace: Duration,
    /// The table `[config]`.
    pub(crate) config: ConfigTable,
    /// The path of the settings file, if one was read.
    pub(crate) file: Option<PathBuf>,
    /// Settings that are allowed, but are probably a mistake, one line each.
    pub(crate) warnings: Vec<String>,
}

impl Settings {
    /// The trusted destinations: each `[[delivery.endpoint]]`, and `config.webhook_url` if it is a valid URL.
    pub(crate) fn destinations(&self) -> Destinations {
        let of_config = self.config.webhook_url().and_then(|url| Webhook::new(url).ok()).map(|webhook| Destination {
            url: webhook.url().clone(),
            secrets: Vec::new(),
            private: true,
        });
        let endpoints = self.delivery.endpoints.iter().map(|endpoint| {
            let is_of_config = || of_config.as_ref().is_some_and(|config| config.url == endpoint.url);
            let private = endpoint.private.unwrap_or_else(is_of_config);
            Destination { url: endpoint.url.clone(), secrets: endpoint.secrets.clone(), private }
        });
        // If an endpoint has the URL of `config.webhook_url`, the endpoint must be found, because it may have secrets
        // of its own. The first match is found, so the endpoints come first.
        let mut all: Vec<_> = endpoints.collect();
        all.extend(of_config);
        Destinations::new(all, &self.delivery.secrets)
    }

    /// Trusts this URL and the paths below it, as a `[[delivery.endpoint]]` does. An invalid URL is ignored.
    pub(crate) fn trust(&mut self, url: &str) {
        self.delivery.endpoints.extend(Url::parse(url).map(|url| Endpoint {
            url,
            secrets: Vec::new(),
            private: Some(true),
            concurrency: None,
        }));
    }
}

/// The section `[delivery]`: how reports are delivered.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    /// The signing secrets. Each report is signed with all of them, so that an operator can rotate them.
    pub(crate) secrets: Vec<Secret>,
    /// The pause before each attempt.
    pub(crate) schedule: Schedule,
    /// The longest time of one attempt.
    pub(crate) timeout: Duration,
    /// Attempts at once, at least 1.
    pub(crate) concurrency: usize,
    /// Attempts at once to one origin, at most `concurrency`.
    pub(crate) per_origin: usize,
    /// Private networks that any webhook may reach.
    pub(crate) allow_networks: Vec<IpNet>,
    /// Networks that no webhook may reach.
    pub(crate) deny_networks: Vec<IpNet>,
    /// IPv6 prefixes of the site's NAT64: an address below one of them contains an IPv4 address, which is checked.
    pub(crate) nat64_prefixes: Vec<Nat64>,
    /// A file of certificates that are trusted besides the usual ones.
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) endpoints: Vec<Endpoint>,
}

/// A `[[delivery.endpoint]]`, which is a trusted destination: this URL and the paths below it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) url: Url,
    /// If this is empty, `delivery.secrets` sign.
    pub(crate) secrets: Vec<Secret>,
    /// Whether the URL may be on a private network. `None`: it may if it is `config.webhook_url`.
    pub(crate) private: Option<bool>,
    /// Attempts at once to the origin of the URL. `None`: `delivery.per_origin`.
    pub(crate) concurrency: Option<usize>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, secrets, private, concurrency } = self;
        let (url, secrets) = (Shown(url), secrets.len());
        write!(f, "Endpoint({url}, {secrets} secrets, private {private:?}, concurrency {concurrency:?})")
    }
}

/// Reads and checks all settings. If there are mistakes, all of them are returned together. `check_config` checks the
/// table `[config]`, whose type is not known here; it is only called if there is another mistake.
pub(crate) fn load(
    sources: Sources,
    check_config: impl FnOnce(&ConfigTable) -> Option<Error>,
) -> Result<Settings, Errors> {
    check::check(sources::gather(sources)?, check_config)
}

/// Reads and checks settings as [`load`] does, from a text instead of a file and from the given variables. For
/// `tests/fuzz`.
#[cfg(fuzzing)]
pub(crate) fn load_text(file: &str, variables: Vec<(String, String)>) -> Result<Settings, Errors> {
    check::check(sources::gather_text(file, variables)?, |_| None)
}

#[cfg(test)]
mod tests;
