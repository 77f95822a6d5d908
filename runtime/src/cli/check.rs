//! The command `check`: prints what would be served, or what is wrong with settings and routes.

use std::fmt::Write as _;

use clap::Args;

use super::Common;
use super::remote::json;
use super::serve::handlers;
use crate::handler::Routes;
use crate::settings::Settings;
use postback_wire::line::{Causes, Escaped};
use postback_wire::webhook::Webhook;

/// The arguments of `check`.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Print JSON: each setting with its value, without secrets, the routes, and warnings
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Returns the text that the command `check` prints, or an error. If `config.webhook_url` is not a valid URL, returns
/// an error. The command `serve` only prints a warning in this case, because requests can still run.
pub(crate) fn check(settings: &Settings, routes: &Routes, as_json: bool) -> Result<String, String> {
    if let Some(Err(error)) = settings.config.webhook_url().map(Webhook::new) {
        return Err(format!("config.webhook_url: {}", Causes(&error)));
    }
    if as_json {
        return as_document(settings, routes);
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
    }
    // The results of `writeln!` are ignored, because writing to a `String` cannot fail.
    for warning in warnings(settings, routes) {
        let _ = writeln!(text, "warning: {warning}");
    }
    let _ = writeln!(text, "settings and {n} route{s} are fine");
    Ok(text)
}

/// Returns what is allowed, and probably a mistake.
fn warnings(settings: &Settings, routes: &Routes) -> Vec<String> {
    let mut warnings = Vec::new();
    for token in &settings.access.tokens {
        let name = Escaped(&token.name);
        for route in token.unknown_routes(|route| routes.get(route).is_some()) {
            let route = Escaped(route);
            warnings.push(format!("the token {name} is for the route {route}, which this program does not have"));
        }
    }
    warnings.extend(settings.warnings.iter().cloned());
    warnings
}

fn as_document(settings: &Settings, routes: &Routes) -> Result<String, String> {
    let of_routes: Vec<_> = routes
        .iter()
        .map(|route| serde_json::json!({ "path": route.path, "limits": route.limits().to_string() }))
        .collect();
    json(&serde_json::json!({
        "file": settings.file.as_ref().map(|file| file.display().to_string()),
        "settings": settings.shown(),
        "routes": of_routes,
        "warnings": warnings(settings, routes),
    }))
}
