//! The effective settings as an operator may see them: each key with its value, and `…` for a secret.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Endpoint, Settings};
use crate::telemetry::Format;
use postback_store::Location;
use postback_wire::webhook::Shown;

/// Stands for a value that is not shown.
const MASK: &str = "…";

impl Settings {
    /// Returns each key with its effective value. Secrets are masked, and the keys of `[config]` are left out, because
    /// only the user's program knows which of them are secret.
    pub(crate) fn shown(&self) -> BTreeMap<String, Value> {
        let Self { server, admin_token, store, retention, worker, delivery, log, grace, .. } = self;
        let list = |items: &[String]| json!(items);
        let texts = |items: &mut dyn Iterator<Item = String>| list(&items.collect::<Vec<_>>());
        let schedule = delivery.schedule.steps().iter().map(|pause| duration(*pause));
        let keys = [
            ("server.listen", json!(server.listen.to_string())),
            ("server.max_payload", json!(server.max_payload)),
            ("server.admin_token", admin_token.as_ref().map_or(Value::Null, |_| json!(MASK))),
            ("store.url", json!(store_url(&store.place))),
            ("store.durability", json!(durability(&store.place))),
            ("store.litestream", json!(store.litestream)),
            ("store.retention", json!(duration(*retention))),
            ("store.disk_reserve", json!(store.disk_reserve)),
            ("worker.concurrency", json!(worker.concurrency)),
            ("worker.threads", json!(worker.threads)),
            ("worker.timeout", json!(duration(worker.timeout))),
            ("worker.max_attempts", json!(worker.max_attempts)),
            ("worker.retry_delay", json!(duration(worker.retry_delay))),
            ("worker.max_retry_delay", json!(duration(worker.max_retry_delay))),
            ("worker.max_crashes", json!(worker.max_crashes)),
            ("worker.max_queued", json!(store.max_queued)),
            ("worker.max_queued_bytes", json!(store.max_queued_bytes)),
            ("delivery.secrets", masked(delivery.secrets.len())),
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
            ("shutdown.grace", json!(duration(*grace))),
        ];
        keys.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }
}

fn duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

fn masked(secrets: usize) -> Value {
    Value::Array(vec![json!(MASK); secrets])
}

fn endpoint(endpoint: &Endpoint) -> Value {
    let Endpoint { url, secrets, private, concurrency } = endpoint;
    json!({
        "url": Shown(url).to_string(), "secrets": masked(secrets.len()), "private": private, "concurrency": concurrency,
    })
}

fn store_url(place: &Location) -> String {
    match place {
        Location::Memory { .. } => "memory:".to_owned(),
        #[cfg(feature = "sqlite")]
        Location::Sqlite { path, .. } => format!("sqlite:{}", path.display()),
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
    }
}

fn format(format: Format) -> &'static str {
    match format {
        Format::Auto => "auto",
        Format::Text => "text",
        Format::Json => "json",
    }
}
