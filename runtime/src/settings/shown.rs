//! The effective settings as an operator may see them: each key with its value, and `…` for a secret.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Delivery, Endpoint, Forward, RouteLimits, Settings};
use crate::access::{Auth, Origins, Public, TokenInfo};
use crate::telemetry::{Format, Log};
use crate::{results, worker};
use postback_store::{self as store, Location};
use postback_wire::report;
use postback_wire::webhook::Shown;

/// Stands for a value that is not shown.
const MASK: &str = "…";

impl Settings {
    /// Returns each key with its effective value. Secrets are masked, and the keys of `[config]` are left out, because
    /// only the user's program knows which of them are secret.
    pub(crate) fn shown(&self) -> BTreeMap<String, Value> {
        let Self {
            server,
            access,
            admin_token,
            store,
            retention,
            results,
            worker,
            routes,
            forwards,
            delivery,
            log,
            traces,
            grace,
            ..
        } = self;
        let traces = traces.as_ref();
        let list = |items: &[String]| json!(items);
        let texts = |items: &mut dyn Iterator<Item = String>| list(&items.collect::<Vec<_>>());
        let schedule = delivery.schedule.steps().iter().map(|pause| duration(*pause));
        let keys = [
            ("server.listen", json!(server.listen.to_string())),
            ("server.max_payload", json!(server.max_payload)),
            ("server.accept_ids", json!(server.accept_ids)),
            ("server.auth", json!(if access.auth == Auth::None { "none" } else { "tokens" })),
            ("server.hosts", texts(&mut access.hosts.iter().map(ToString::to_string))),
            ("server.trusted_proxies", texts(&mut access.trusted_proxies.iter().map(ToString::to_string))),
            ("server.public", public(access.public)),
            ("server.cors_origins", origins(&access.cors_origins)),
            ("server.token", Value::Array(access.tokens.iter().map(token).collect())),
            ("server.admin_token", admin_token.as_ref().map_or(Value::Null, |_| json!(MASK))),
            ("store.url", json!(store_url(&store.place))),
            ("store.durability", json!(durability(&store.place))),
            ("store.litestream", json!(store.litestream)),
            ("store.retention", json!(duration(*retention))),
            ("store.disk_reserve", json!(store.disk_reserve)),
            ("store.max_inline", json!(results.max_inline)),
            ("results.url", json!(results.place.as_ref().map(results::Place::shown))),
            ("results.max_size", json!(results.max_size)),
            ("results.server_url", json!(results.server_url.as_ref().map(ToString::to_string))),
            ("worker.concurrency", json!(worker.concurrency)),
            ("worker.threads", json!(worker.threads)),
            ("worker.timeout", json!(duration(worker.timeout))),
            ("worker.max_attempts", json!(worker.max_attempts)),
            ("worker.retry_delay", json!(duration(worker.retry_delay))),
            ("worker.max_retry_delay", json!(duration(worker.max_retry_delay))),
            ("worker.max_crashes", json!(worker.max_crashes)),
            ("worker.max_queued", json!(store.max_queued)),
            ("worker.max_queued_bytes", json!(store.max_queued_bytes)),
            ("route", Value::Object(routes.iter().map(|route| (route.path.clone(), limits(route))).collect())),
            ("forward", Value::Array(forwards.iter().map(forward).collect())),
            ("delivery.secrets", masked(delivery.secrets.len())),
            ("delivery.format", json!(delivery.format.as_str())),
            ("delivery.schedule", texts(&mut { schedule })),
            ("delivery.timeout", json!(duration(delivery.timeout))),
            ("delivery.concurrency", json!(delivery.concurrency)),
            ("delivery.per_origin", json!(delivery.per_origin)),
            ("delivery.allow_networks", texts(&mut delivery.allow_networks.iter().map(ToString::to_string))),
            ("delivery.deny_networks", texts(&mut delivery.deny_networks.iter().map(ToString::to_string))),
            ("delivery.nat64_prefixes", texts(&mut delivery.nat64_prefixes.iter().map(ToString::to_string))),
            ("delivery.ca_file", json!(delivery.ca_file.as_ref().map(|file| file.display().to_string()))),
            ("delivery.endpoint", Value::Array(delivery.endpoints.iter().map(endpoint).collect())),
            ("log.level", json!(log.level)),
            ("log.format", json!(format(log.format))),
            ("telemetry.otlp_endpoint", json!(traces.map(|traces| Shown(&traces.endpoint).to_string()))),
            ("telemetry.otlp_headers", masked(traces.map_or(0, |traces| traces.headers.len()))),
            (
                "telemetry.otlp_headers_file",
                json!(traces.and_then(|traces| traces.headers_file.as_ref()).map(|file| file.display().to_string())),
            ),
            ("telemetry.service_name", json!(traces.map(|traces| &traces.service_name))),
            ("telemetry.sample", json!(traces.map(|traces| traces.sample))),
            ("shutdown.grace", json!(duration(*grace))),
        ];
        keys.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }
}

/// The keys whose values are used only when the server starts.
const AT_START: [&str; 24] = [
    "forward",
    "server.listen",
    "server.max_payload",
    "server.accept_ids",
    "store.url",
    "store.durability",
    "store.litestream",
    "store.disk_reserve",
    "store.max_inline",
    "results.url",
    "results.max_size",
    "results.server_url",
    "worker.threads",
    "delivery.allow_networks",
    "delivery.deny_networks",
    "delivery.nat64_prefixes",
    "delivery.ca_file",
    "log.format",
    "telemetry.otlp_endpoint",
    "telemetry.otlp_headers",
    "telemetry.otlp_headers_file",
    "telemetry.service_name",
    "telemetry.sample",
    "shutdown.grace",
];

/// How settings differ from those that the server uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// The keys that the server can use at once.
    pub(crate) live: Vec<String>,
    /// The keys that need a restart.
    pub(crate) at_start: Vec<String>,
}

impl Settings {
    /// Compares these settings with `new` ones.
    pub(crate) fn changes(&self, new: &Self) -> Changes {
        let (before, after) = (self.shown(), new.shown());
        let mut changed: Vec<String> =
            after.iter().filter(|(key, value)| before.get(*key) != Some(*value)).map(|(key, _)| key.clone()).collect();
        // These look the same when their secrets change.
        let masked = [
            ("server.admin_token", self.admin_token != new.admin_token),
            ("server.token", self.access.tokens != new.access.tokens),
            ("forward", self.forwards != new.forwards),
            ("delivery.secrets", self.delivery.secrets != new.delivery.secrets),
            ("delivery.endpoint", self.delivery.endpoints != new.delivery.endpoints),
            (
                "telemetry.otlp_headers",
                self.traces.as_ref().map(|traces| &traces.headers) != new.traces.as_ref().map(|traces| &traces.headers),
            ),
            ("config", !self.config.has_values_of(&new.config)),
        ];
        for (key, _) in masked.iter().filter(|(_, differs)| *differs) {
            if !changed.iter().any(|known| known == key) {
                changed.push((*key).to_owned());
            }
        }
        let is_live = |key: &String| key != "config" && !AT_START.contains(&key.as_str());
        let (live, at_start) = changed.into_iter().partition(is_live);
        Changes { live, at_start }
    }

    /// Returns `new` settings, with the values of these for all keys that need a restart.
    pub(crate) fn with_live(&self, new: &Self) -> Self {
        let old = self.clone();
        let store = store::Options {
            max_queued: new.store.max_queued,
            max_queued_bytes: new.store.max_queued_bytes,
            ..old.store
        };
        let delivery = Delivery {
            allow_networks: old.delivery.allow_networks,
            deny_networks: old.delivery.deny_networks,
            nat64_prefixes: old.delivery.nat64_prefixes,
            ca_file: old.delivery.ca_file,
            ..new.delivery.clone()
        };
        Self {
            server: old.server,
            store,
            worker: worker::Options { threads: old.worker.threads, ..new.worker },
            delivery,
            log: Log { format: old.log.format, ..new.log.clone() },
            traces: old.traces,
            grace: old.grace,
            config: old.config,
            forwards: old.forwards,
            ..new.clone()
        }
    }
}

fn public(public: Public) -> Value {
    let Public { openapi, metrics } = public;
    json!(
        [(openapi, "openapi"), (metrics, "metrics")]
            .into_iter()
            .filter_map(|(is_listed, name)| is_listed.then_some(name))
            .collect::<Vec<_>>()
    )
}

fn origins(origins: &Origins) -> Value {
    match origins {
        Origins::None => json!([]),
        Origins::Any => json!(["*"]),
        Origins::Listed(list) => json!(list.iter().filter_map(|origin| origin.to_str().ok()).collect::<Vec<_>>()),
    }
}

/// Shows a token of the settings without its hash.
fn token(token: &TokenInfo) -> Value {
    let expires = token.expires.map(|time| time.to_string());
    json!({ "id": &*token.id, "name": token.name, "terms": token.terms, "expires": expires })
}

fn limits(route: &RouteLimits) -> Value {
    json!(route.limits.to_string())
}

fn duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

fn masked(secrets: usize) -> Value {
    Value::Array(vec![json!(MASK); secrets])
}

fn endpoint(endpoint: &Endpoint) -> Value {
    let Endpoint { url, secrets, private, concurrency, format } = endpoint;
    json!({
        "url": Shown(url).to_string(), "secrets": masked(secrets.len()), "private": private, "concurrency": concurrency,
        "format": format.map(report::Format::as_str),
    })
}

fn forward(forward: &Forward) -> Value {
    let Forward { path, url, webhook, ready, max_answer, ca_file } = forward;
    json!({
        "path": path, "url": Shown(url).to_string(), "webhook": webhook.as_ref().map(|url| Shown(url).to_string()),
        "ready": ready, "max_answer": max_answer, "ca_file": ca_file.as_ref().map(|file| file.display().to_string()),
    })
}

fn store_url(place: &Location) -> String {
    match place {
        Location::Memory { .. } => "memory:".to_owned(),
        #[cfg(feature = "sqlite")]
        Location::Sqlite { path, .. } => format!("sqlite:{}", path.display()),
        #[cfg(feature = "postgres")]
        Location::Postgres { url } => url.to_string(),
    }
}

fn durability(place: &Location) -> Option<&'static str> {
    match place {
        Location::Memory { .. } => None,
        #[cfg(feature = "sqlite")]
        Location::Sqlite { durability, .. } => Some(match durability {
            postback_store::Durability::Full => "full",
            postback_store::Durability::Normal => "normal",
        }),
        #[cfg(feature = "postgres")]
        Location::Postgres { .. } => Some("full"),
    }
}

fn format(format: Format) -> &'static str {
    match format {
        Format::Auto => "auto",
        Format::Text => "text",
        Format::Json => "json",
    }
}
