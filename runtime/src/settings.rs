//! Settings: text from a TOML file, from the environment and from flags becomes checked values.
//!
//! Invariants: no module below this one parses text that an operator wrote. No message repeats a value, because the
//! value may be a secret.

mod access_keys;
mod check;
mod config_table;
mod deserializer;
mod error;
mod forwards;
mod keys;
mod mismatch;
mod read;
mod results_keys;
mod routes;
mod section;
mod set_by;
mod shown;
mod sources;
mod suggestion;
mod telemetry_keys;
mod tree;
mod variables;
mod warnings;

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use url::Url;

pub(crate) use self::check::store_place;
pub(crate) use self::config_table::{ConfigTable, WEBHOOK_URL};
pub(crate) use self::error::{Error, Errors};
use self::forwards::Forward;
#[cfg(fuzzing)]
pub(crate) use self::keys::KEYS;
pub(crate) use self::routes::RouteLimits;
pub(crate) use self::shown::Changes;
pub(crate) use self::sources::{Sources, admin_token, signing_secrets};
use crate::admin::AdminToken;
use crate::handler::Routes;
use crate::policy::destination::{Destination, Destinations};
use crate::policy::guard::Nat64;
use crate::policy::schedule::Schedule;
use crate::telemetry::{Log, Traces};
use crate::{access, api, results, worker};
use postback_store as store;
use postback_wire::report::Format;
use postback_wire::secret::{PublicKey, Secret};
use postback_wire::webhook::{Shown, Webhook};

/// All settings of the program, after they were checked.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) server: api::Options,
    /// Who may use the API.
    pub(crate) access: access::Options,
    /// The token that opens the operator's API over the network. `None`: that API is served on the socket only.
    pub(crate) admin_token: Option<AdminToken>,
    pub(crate) store: store::Options,
    /// How long finished requests and their deliveries stay in the store.
    pub(crate) retention: Duration,
    /// Where large results are kept.
    pub(crate) results: results::Options,
    pub(crate) worker: worker::Options,
    /// The limits of single routes: the tables `[route."/path"]`.
    pub(crate) routes: Vec<RouteLimits>,
    /// The routes that another HTTP server answers: the tables `[[forward]]`.
    pub(crate) forwards: Vec<Forward>,
    pub(crate) delivery: Delivery,
    pub(crate) log: Log,
    /// Where the traces go. `None`: no traces are exported.
    pub(crate) traces: Option<Traces>,
    /// The longest time for which runs may continue after the signal to stop.
    pub(crate) grace: Duration,
    /// The table `[config]` of the settings. The user's program defines the keys of this table.
    pub(crate) config: ConfigTable,
    /// The path of the settings file. `None` if no file was read.
    pub(crate) file: Option<PathBuf>,
    /// Warnings about settings that are allowed, but are probably mistakes. Each warning is one line.
    pub(crate) warnings: Vec<String>,
}

impl Settings {
    /// Returns the trusted destinations: the URL of each `[[delivery.endpoint]]`, the webhook of each `[[forward]]`, and
    /// also `config.webhook_url` if its value is a valid URL.
    pub(crate) fn destinations(&self) -> Destinations {
        let of_config = self.config.webhook_url().and_then(|url| Webhook::new(url).ok()).map(|webhook| Destination {
            url: webhook.url().clone(),
            secrets: Vec::new(),
            private: true,
            format: None,
        });
        let endpoints = self.delivery.endpoints.iter().map(|endpoint| {
            let is_of_config = || of_config.as_ref().is_some_and(|config| config.url == endpoint.url);
            let private = endpoint.private.unwrap_or_else(is_of_config);
            let Endpoint { url, secrets, format, .. } = endpoint;
            Destination { url: url.clone(), secrets: secrets.clone(), private, format: *format }
        });
        let of_forwards = self.forwards.iter().filter_map(|forward| forward.webhook.clone());
        let of_forwards = of_forwards.map(|url| Destination { url, secrets: Vec::new(), private: true, format: None });
        // An endpoint may have the same URL as one of the others, and may have its own secrets. A search returns the
        // first destination in the list that matches. So the endpoints must come first in the list.
        let mut all: Vec<_> = endpoints.collect();
        all.extend(of_config.iter().cloned().chain(of_forwards));
        Destinations::new(all, &self.delivery.secrets)
    }

    /// Returns the Ed25519 public keys that verify the reports to trusted destinations: those of `delivery.secrets`, and
    /// those of the endpoints. Each key is there once.
    pub(crate) fn public_keys(&self) -> Vec<PublicKey> {
        let of_endpoints = self.delivery.endpoints.iter().flat_map(|endpoint| &endpoint.secrets);
        let mut seen = HashSet::new();
        let keys = self.delivery.secrets.iter().chain(of_endpoints).filter_map(Secret::public_key);
        keys.filter(|key| seen.insert(*key)).collect()
    }

    /// Sets the limits of the app's routes, the forms of their reports, and the place of their results, to those of the
    /// settings. Returns an error if
    /// the settings name a route that the app does not have.
    pub(crate) fn limit(&self, routes: &Routes) -> Result<(), Errors> {
        routes::apply(&self.routes, routes)?;
        routes.formats().replace(self.delivery.format, self.destinations());
        routes.keep_results(&self.results, self.retention);
        Ok(())
    }

    /// Adds a URL and all paths below the URL to the trusted destinations, as a `[[delivery.endpoint]]` does. An
    /// invalid URL is ignored.
    pub(crate) fn trust(&mut self, url: &str) {
        self.delivery.endpoints.extend(Url::parse(url).map(|url| Endpoint {
            url,
            secrets: Vec::new(),
            private: Some(true),
            concurrency: None,
            format: None,
        }));
    }
}

/// The section `[delivery]`: how reports are delivered.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    /// The signing secrets. Each report is signed with all of these secrets, so that an operator can rotate the
    /// secrets.
    pub(crate) secrets: Vec<Secret>,
    /// The form of reports, where neither webhook nor endpoint has its own.
    pub(crate) format: Format,
    /// The pauses before the attempts of a delivery.
    pub(crate) schedule: Schedule,
    /// The longest time that one attempt may take.
    pub(crate) timeout: Duration,
    /// The largest number of attempts that are in flight at the same time. The number is at least 1.
    pub(crate) concurrency: usize,
    /// The largest number of attempts to one origin that are in flight at the same time. The number is at most
    /// `concurrency`.
    pub(crate) per_origin: usize,
    /// The private networks that every webhook may reach.
    pub(crate) allow_networks: Vec<IpNet>,
    /// The networks that no webhook may reach.
    pub(crate) deny_networks: Vec<IpNet>,
    /// The IPv6 prefixes of the NAT64 in the operator's network. An IPv6 address with such a prefix contains an IPv4
    /// address. This IPv4 address is checked, too.
    pub(crate) nat64_prefixes: Vec<Nat64>,
    /// The path of a file with additional root certificates to trust.
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) endpoints: Vec<Endpoint>,
}

/// One `[[delivery.endpoint]]` of the settings. Its URL and the paths below this URL are trusted destinations.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) url: Url,
    /// The secrets that sign reports to this endpoint. If the list is empty, these reports are signed with the secrets
    /// in `delivery.secrets`.
    pub(crate) secrets: Vec<Secret>,
    /// Whether the URL may lead to a private network. `None` means that this is allowed only if the URL is equal to
    /// `config.webhook_url`.
    pub(crate) private: Option<bool>,
    /// The largest number of attempts to the origin of the URL that are in flight at the same time. `None` means the
    /// limit `delivery.per_origin`.
    pub(crate) concurrency: Option<usize>,
    /// The form of the reports. `None` means `delivery.format`.
    pub(crate) format: Option<Format>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, secrets, private, concurrency, format } = self;
        let (url, secrets) = (Shown(url), secrets.len());
        write!(
            f,
            "Endpoint({url}, {secrets} secrets, private {private:?}, concurrency {concurrency:?}, format {format:?})"
        )
    }
}

/// Reads and checks all settings. If there are mistakes, returns all mistakes together.
///
/// `check_config` checks the table `[config]`, because this module does not know the user's type for the table. This
/// function is called only if the other settings have a mistake, so that all mistakes can be shown together.
pub(crate) fn load(
    sources: Sources,
    check_config: impl FnOnce(&ConfigTable) -> Option<Error>,
) -> Result<Settings, Errors> {
    check::check(sources::gather(sources)?, check_config)
}

/// Reads and checks settings as [`load`] does, but gets the text of the file and the environment variables as
/// arguments. Only tests use this function.
#[cfg(any(fuzzing, test))]
pub(crate) fn load_text(file: &str, variables: Vec<(String, String)>) -> Result<Settings, Errors> {
    check::check(sources::gather_text(file, variables)?, |_| None)
}

#[cfg(test)]
mod tests;
