//! The inspector of a server that is started with `--inspect`.

use serde::de::DeserializeOwned;

use crate::cli::print;
use crate::inspector::{self, Inspector};
use crate::settings::{Settings, WEBHOOK_URL};
use postback_store::shutdown::Shutdown;
use postback_wire::line::Causes;

/// Adds the inspector's URL to the trusted URLs. If the user's settings type has the field `webhook_url`, and
/// `config.webhook_url` is not set, also sets `config.webhook_url` to the inspector's URL. Returns a line for the user
/// that says what was done.
pub(super) fn set_webhook<S: DeserializeOwned>(url: &str, settings: &mut Settings) -> String {
    // The inspector runs on this machine. A webhook that a caller has chosen may be sent to this machine only if the
    // URL of the webhook is trusted.
    settings.trust(url);
    let prints = format!("webhooks to {url} are printed here, and shown on the page at this URL; it is trusted");
    if settings.config.webhook_url().is_some() {
        format!("{prints}; config.webhook_url was already set, and is kept")
    } else if settings.config.wants::<S>(WEBHOOK_URL) {
        settings.config.set(WEBHOOK_URL, url);
        format!("{prints}; config.webhook_url was not set, and is now this URL")
    } else {
        format!("{prints}; [config] has no field webhook_url that could be set to it")
    }
}

/// Runs the inspector until `stop` signals the end.
pub(super) fn spawn(inspector: Inspector, settings: &Settings, stop: &Shutdown) {
    let (options, stopping) = (options(settings), stop.clone());
    stop.spawn(async move {
        if let Err(error) = inspector.run(options, stopping).await {
            tracing::warn!("the inspector has ended: {}", Causes(&error));
        }
    });
}

/// The inspector of a server checks signatures with the server's own secrets.
fn options(settings: &Settings) -> inspector::Options {
    let delivery = &settings.delivery;
    let of_endpoints = delivery.endpoints.iter().flat_map(|endpoint| &endpoint.secrets);
    let keys = delivery.secrets.iter().chain(of_endpoints).cloned().map(inspector::Key::Secret).collect();
    inspector::Options { print, format: inspector::Format::Whole, keys, forward: None, wait: None }
}
