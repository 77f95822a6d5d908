//! `serve`: the lines that it starts with.

use std::fmt::Write as _;
use std::net::SocketAddr;

use anstyle::{AnsiColor, Style};

use crate::handler::{PayloadKind, Route, Routes};
use crate::settings::{Settings, WEBHOOK_URL};
use crate::store::Location;
use crate::webhook::{Shown, Webhook};

const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default().bold();

/// What a node says when it is ready.
pub(crate) struct Ready<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) routes: &'a Routes,
    pub(crate) address: SocketAddr,
    /// What the inspector has to say, if it runs.
    pub(crate) inspector: Option<String>,
}

impl Ready<'_> {
    /// The start lines. The one with "postback ready on" is stable: programs wait for it.
    pub(crate) fn lines(&self) -> String {
        let mut text = handlers(self.settings, self.routes);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {DIM}settings{DIM:#}  {}", origin(self.settings));
        let _ = writeln!(text, "  {DIM}store{DIM:#}     {}", place(&self.settings.store.place));
        if let Some(inspector) = &self.inspector {
            let _ = writeln!(text, "  {DIM}inspect{DIM:#}   {inspector}");
        }
        let url = format!("http://{}", reachable(self.address));
        let _ = writeln!(text, "{GOOD}postback ready on {url}{GOOD:#}");
        for route in self.routes.iter() {
            let _ = writeln!(text, "  {DIM}try{DIM:#}       {BOLD}{}{BOLD:#}", curl(route, &url));
        }
        text
    }
}

/// A line per handler: path, name, place, webhook.
pub(super) fn handlers(settings: &Settings, routes: &Routes) -> String {
    let mut text = String::new();
    let width = |of: fn(&Route) -> usize| routes.iter().map(|route| of(route)).max().unwrap_or_default();
    let (paths, names) = (width(|route| route.path.len()), width(|route| route.name.len()));
    for route in routes.iter() {
        let (path, name, location) = (&route.path, route.name, route.location);
        let place = format!("{}:{}", location.file(), location.line());
        let webhook = webhook(settings, route);
        let _ = writeln!(
            text,
            "  {DIM}handler{DIM:#}   {BOLD}POST {path:paths$}{BOLD:#}  {name:names$}  {DIM}{place}{DIM:#}  {DIM}webhook{DIM:#} {webhook}"
        );
    }
    text
}

/// Where a handler's reports go, as far as it is known before it runs: where the attribute says, and where the route says for
/// what ends without that.
fn webhook(settings: &Settings, route: &Route) -> String {
    let of_attribute = route.attribute.map(|attribute| of_attribute(settings, attribute.webhook));
    let of_route = route.webhook.resolve().map(|target| match target.webhook() {
        Ok(webhook) => Shown(webhook.url()).to_string(),
        Err(_) => "of the route, which cannot be used".to_owned(),
    });
    let of_route = of_route.collect::<Vec<_>>().join(", ");
    match (of_attribute, of_route.is_empty()) {
        (Some(attribute), true) => attribute,
        (Some(attribute), false) => format!("{attribute}, or {of_route}"),
        (None, true) => "chosen by the handler, or none".to_owned(),
        (None, false) => format!("chosen by the handler, or {of_route}"),
    }
}

/// The expression, and what it comes to where that is the settings' own key.
fn of_attribute(settings: &Settings, expression: &str) -> String {
    let own = format!("config.{WEBHOOK_URL}");
    if expression.trim_start_matches('&') != own {
        return expression.to_owned();
    }
    match settings.config.webhook_url().map(Webhook::new) {
        Some(Ok(webhook)) => format!("{own} ({})", Shown(webhook.url())),
        Some(Err(_)) => format!("none: {own} cannot be used"),
        None => format!("{own}, which is not set"),
    }
}

fn origin(settings: &Settings) -> String {
    match &settings.file {
        Some(file) => file.display().to_string(),
        None => "defaults and environment; there is no postback.toml".to_owned(),
    }
}

fn place(place: &Location) -> String {
    match place {
        Location::Memory { .. } => "memory: requests and reports end with the process".to_owned(),
        #[cfg(feature = "sqlite")]
        Location::Sqlite { path, durability } => {
            let survives = match durability {
                crate::store::Durability::Full => "survives power loss",
                crate::store::Durability::Normal => "survives the process, not power loss",
            };
            format!("{} ({survives})", path.display())
        }
    }
}

/// An address that a client on this machine can use.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

/// A command to paste.
fn curl(route: &Route, url: &str) -> String {
    let path = &route.path;
    let example = route.example.as_deref().map(|text| format!("'{}'", text.replace('\'', r"'\''")));
    match route.payload {
        Some(PayloadKind::Bytes) => {
            let example = example.unwrap_or_else(|| "@FILE".to_owned());
            format!("curl --data-binary {example} -H 'content-type: application/octet-stream' {url}{path}")
        }
        Some(PayloadKind::Json(_)) => {
            let example = example.unwrap_or_else(|| "'{}'".to_owned());
            format!("curl -d {example} -H 'content-type: application/json' {url}{path}")
        }
        None => format!("curl -X POST {url}{path}"),
    }
}
