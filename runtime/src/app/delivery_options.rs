//! What the settings say about the delivery.

use std::collections::HashMap;

use crate::delivery;
use crate::settings::Settings;
use postback_wire::line::Causes;
use postback_wire::webhook::{Webhook, origin_of};

/// Converts the settings to the options of the delivery. `nodes` is the number of nodes that share the limits of an
/// origin: a receiver must not get more attempts at the same time because there are more nodes.
pub(crate) fn delivery_options(settings: &Settings, nodes: usize) -> delivery::Options {
    let share = |limit: usize| limit.div_ceil(nodes.max(1));
    let delivery = &settings.delivery;
    if let Some(Err(error)) = settings.config.webhook_url().map(Webhook::new) {
        tracing::warn!("config.webhook_url: {}", Causes(&error));
    }
    // The largest number of attempts at the same time is set for each endpoint, but applies to the endpoint's origin:
    // scheme, host and port. If several endpoints have the same origin, the smallest of their limits applies.
    let mut own_concurrency = HashMap::new();
    let limits = delivery.endpoints.iter().filter_map(|endpoint| Some((&endpoint.url, endpoint.concurrency?)));
    for (url, n) in limits {
        let limit = own_concurrency.entry(origin_of(url).to_owned()).or_insert(share(n));
        *limit = share(n).min(*limit);
    }
    delivery::Options {
        schedule: delivery.schedule.clone(),
        timeout: delivery.timeout,
        concurrency: delivery.concurrency,
        per_origin: share(delivery.per_origin),
        own_concurrency,
        destinations: settings.destinations(),
        allow_networks: delivery.allow_networks.clone(),
        deny_networks: delivery.deny_networks.clone(),
        nat64_prefixes: delivery.nat64_prefixes.clone(),
        ca_file: delivery.ca_file.clone(),
        ..delivery::Options::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::load_text;

    #[test]
    fn nodes_share_the_limits_of_an_origin() {
        let text =
            "[delivery]\nper_origin = 10\n[[delivery.endpoint]]\nurl = \"https://example.com/in\"\nconcurrency = 4\n";
        let settings = load_text(text, Vec::new()).unwrap();
        let limits = |nodes| {
            let options = delivery_options(&settings, nodes);
            (options.per_origin, options.own_concurrency["https://example.com"])
        };
        assert_eq!([limits(0), limits(1), limits(3), limits(100)], [(10, 4), (10, 4), (4, 2), (1, 1)]);
    }
}
