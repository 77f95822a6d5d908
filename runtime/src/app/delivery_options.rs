//! What the settings say about the delivery.

use std::collections::HashMap;

use crate::delivery;
use crate::settings::Settings;
use postback_wire::line::Causes;
use postback_wire::webhook::{Webhook, origin_of};

/// Converts the settings to the options of the delivery.
pub(super) fn delivery_options(settings: &Settings) -> delivery::Options {
    let delivery = &settings.delivery;
    if let Some(Err(error)) = settings.config.webhook_url().map(Webhook::new) {
        tracing::warn!("config.webhook_url: {}", Causes(&error));
    }
    // The largest number of attempts at the same time is set for each endpoint, but applies to the endpoint's origin:
    // scheme, host and port. If several endpoints have the same origin, the smallest of their limits applies.
    let mut own_concurrency = HashMap::new();
    let limits = delivery.endpoints.iter().filter_map(|endpoint| Some((&endpoint.url, endpoint.concurrency?)));
    for (url, n) in limits {
        let limit = own_concurrency.entry(origin_of(url).to_owned()).or_insert(n);
        *limit = n.min(*limit);
    }
    delivery::Options {
        schedule: delivery.schedule.clone(),
        timeout: delivery.timeout,
        concurrency: delivery.concurrency,
        per_origin: delivery.per_origin,
        own_concurrency,
        destinations: settings.destinations(),
        allow_networks: delivery.allow_networks.clone(),
        deny_networks: delivery.deny_networks.clone(),
        nat64_prefixes: delivery.nat64_prefixes.clone(),
        ca_file: delivery.ca_file.clone(),
        ..delivery::Options::default()
    }
}
