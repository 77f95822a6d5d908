//! The command `check`: prints what would be served, or what is wrong with settings and routes.

use std::fmt::Write as _;

use super::serve::handlers;
use crate::handler::Routes;
use crate::settings::Settings;
use postback_wire::line::Causes;
use postback_wire::webhook::Webhook;

/// Returns the text that the command `check` prints, or an error. If `config.webhook_url` is not a valid URL, returns
/// an error. The command `serve` only prints a warning in this case, because requests can still run.
pub(crate) fn check(settings: &Settings, routes: &Routes) -> Result<String, String> {
    if let Some(Err(error)) = settings.config.webhook_url().map(Webhook::new) {
        return Err(format!("config.webhook_url: {}", Causes(&error)));
    }
    let mut text = handlers(settings, routes);
    let n = routes.iter().count();
    let s = if n == 1 { "" } else { "s" };
    // The results of `writeln!` are ignored, because writing to a `String` cannot fail.
    for warning in &settings.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    let _ = writeln!(text, "settings and {n} route{s} are fine");
    Ok(text)
}
