//! The command `check`: prints what would be served, or what is wrong with settings and routes.

use std::fmt::Write as _;

use super::serve::handlers;
use crate::handler::Routes;
use crate::settings::Settings;
use postback_wire::line::{Causes, Escaped};
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
    for token in &settings.access.tokens {
        let terms = &token.terms;
        let scopes: Vec<_> = terms.scopes.iter().map(|scope| scope.as_str()).collect();
        let of = if terms.routes.is_empty() { "all routes".to_owned() } else { terms.routes.join(" ") };
        let (name, of) = (Escaped(&token.name), Escaped(&of));
        let _ = writeln!(text, "  token     {}  {name}  {}  {of}", token.id, scopes.join(","));
        for route in token.unknown_routes(|route| routes.get(route).is_some()) {
            let route = Escaped(route);
            let _ =
                writeln!(text, "warning: the token {name} is for the route {route}, which this program does not have");
        }
    }
    // The results of `writeln!` are ignored, because writing to a `String` cannot fail.
    for warning in &settings.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    let _ = writeln!(text, "settings and {n} route{s} are fine");
    Ok(text)
}
