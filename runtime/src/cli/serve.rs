//! The command `serve`: the lines that it prints when the server is ready.

use std::fmt::Write as _;
use std::net::SocketAddr;

use anstyle::{AnsiColor, Style};

use crate::access::Auth;
use crate::handler::{Limits, PayloadKind, Route, Routes, ShownSchedule};
use crate::settings::{Settings, WEBHOOK_URL};
use postback_store::Location;
use postback_wire::time::Clock;
use postback_wire::webhook::{Shown, Webhook};

const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default().bold();

/// The data for the lines that the server prints when it starts.
pub(crate) struct Ready<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) routes: &'a Routes,
    pub(crate) address: SocketAddr,
    /// Whether callers need a token.
    pub(crate) needs_tokens: bool,
    /// The printed line about the inspector. `None` if no inspector runs.
    pub(crate) inspector: Option<String>,
    /// The random token that opens the dashboard. `None`: `server.admin_token` opens it.
    pub(crate) link: Option<&'a str>,
}

impl Ready<'_> {
    /// Makes the lines that the server prints when it starts. The line with "postback ready on" must not change,
    /// because other programs wait for this line.
    pub(crate) fn lines(&self) -> String {
        let mut text = handlers(self.settings, self.routes);
        // The results of `writeln!` are ignored, because writing to a `String` cannot fail.
        let _ = writeln!(text, "  {DIM}settings{DIM:#}  {}", file(self.settings));
        let _ = writeln!(text, "  {DIM}store{DIM:#}     {}", store(&self.settings.store.place));
        if let Some(access) = access(self.settings, self.needs_tokens) {
            let _ = writeln!(text, "  {DIM}access{DIM:#}    {access}");
        }
        if let Some(inspector) = &self.inspector {
            let _ = writeln!(text, "  {DIM}inspect{DIM:#}   {inspector}");
        }
        let url = format!("http://{}", reachable(self.address));
        // A browser does not send what is behind the `#`, so the token is in no log of a proxy.
        let _ = match self.link {
            Some(token) => writeln!(text, "  {DIM}dashboard{DIM:#} {url}/_postback/#token={token}"),
            None => {
                writeln!(text, "  {DIM}dashboard{DIM:#} {url}/_postback/  {DIM}log in with server.admin_token{DIM:#}")
            }
        };
        let _ = writeln!(text, "{GOOD}postback ready on {url}{GOOD:#}");
        for route in self.routes.iter() {
            let _ = writeln!(text, "  {DIM}try{DIM:#}       {BOLD}{}{BOLD:#}", curl(route, &url, self.needs_tokens));
        }
        text
    }
}

/// Makes one line for each route, and another one for the limits of the route if it has any. The first line shows the path, the name of the handler, the handler's place in the source
/// code, and the webhook.
pub(super) fn handlers(settings: &Settings, routes: &Routes) -> String {
    let mut text = String::new();
    let width = |of: fn(&Route) -> usize| routes.iter().map(|route| of(route)).max().unwrap_or_default();
    let (paths, names) = (width(|route| route.path.len()), width(|route| route.name.len()));
    for route in routes.iter() {
        let (path, name, place) = (&route.path, &route.name, &route.place);
        let webhook = webhook(settings, route);
        let _ = writeln!(
            text,
            "  {DIM}handler{DIM:#}   {BOLD}POST {path:paths$}{BOLD:#}  {name:names$}  {DIM}{place}{DIM:#}  \
             {DIM}webhook{DIM:#} {webhook}"
        );
        if let Some(schedule) = route.shown_schedule(Clock::system().now(), None) {
            let ShownSchedule { line, zone, next, .. } = schedule;
            let next = next.first().map_or("never", String::as_str);
            let _ = writeln!(text, "  {DIM}schedule{DIM:#}  {path:paths$}       {line} ({zone}), next {next}");
        }
        let limits = route.limits();
        if limits != Limits::default() {
            let _ = writeln!(text, "  {DIM}limits{DIM:#}    {path:paths$}       {limits}");
        }
    }
    text
}

/// Makes the text that says where the reports of a route are sent. The text shows what is known before a run: the
/// expression of the attribute, and the webhook that `App::webhook` sets for requests whose handler names no webhook.
fn webhook(settings: &Settings, route: &Route) -> String {
    let of_attribute = route.attribute.map(|attribute| of_attribute(settings, attribute.webhook));
    let of_route = route.webhook.resolve().map(|target| match target.webhook() {
        Ok(webhook) => Shown(webhook.url()).to_string(),
        Err(_) => "the webhook of the route, which is not valid".to_owned(),
    });
    let of_route = of_route.collect::<Vec<_>>().join(", ");
    if !route.names_webhooks {
        return if of_route.is_empty() { "none".to_owned() } else { of_route };
    }
    match (of_attribute, of_route.is_empty()) {
        (Some(attribute), true) => attribute,
        (Some(attribute), false) => format!("{attribute}, or {of_route}"),
        (None, true) => "chosen by the handler, or none".to_owned(),
        (None, false) => format!("chosen by the handler, or {of_route}"),
    }
}

/// Makes the text for the expression `webhook = …` of the attribute. If the expression is `config.webhook_url`, the
/// text also shows the URL.
fn of_attribute(settings: &Settings, expression: &str) -> String {
    let own = format!("config.{WEBHOOK_URL}");
    if expression.trim_start_matches('&') != own {
        return expression.to_owned();
    }
    match settings.config.webhook_url().map(Webhook::new) {
        Some(Ok(webhook)) => format!("{own} ({})", Shown(webhook.url())),
        Some(Err(_)) => format!("none: {own} is not a valid URL"),
        None => format!("{own}, which is not set"),
    }
}

fn file(settings: &Settings) -> String {
    match &settings.file {
        Some(file) => file.display().to_string(),
        None => "defaults and environment; there is no postback.toml".to_owned(),
    }
}

fn store(location: &Location) -> String {
    match location {
        Location::Memory { .. } => "memory: requests and reports are lost when the process ends".to_owned(),
        #[cfg(feature = "sqlite")]
        Location::Sqlite { path, durability } => {
            let survives = match durability {
                postback_store::Durability::Full => "survives a power loss",
                postback_store::Durability::Normal => "survives a crash of the process, not a power loss",
            };
            format!("{} ({survives})", path.display())
        }
        #[cfg(feature = "postgres")]
        Location::Postgres { url } => format!("{url} (schema {}; several servers may share it)", url.schema()),
    }
}

/// Makes the text that says who may use the API. Returns `None` if everybody on this machine may, and nobody else.
fn access(settings: &Settings, needs_tokens: bool) -> Option<&'static str> {
    match (settings.access.auth, needs_tokens) {
        (Auth::None, _) => Some("no token is asked for (server.auth); a gateway has to know the callers"),
        (Auth::Tokens, true) => Some("callers need a token; `tokens new NAME` makes one"),
        (Auth::Tokens, false) => None,
    }
}

/// Returns the address at which a client on this machine can reach the server. `address` is the address on which the
/// server listens.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

/// Makes a `curl` command that sends a request to the route.
fn curl(route: &Route, url: &str, needs_token: bool) -> String {
    let path = &route.path;
    // The shell puts the token in, so that it is in no start line.
    let token = if needs_token { " -H \"authorization: Bearer $TOKEN\"" } else { "" };
    let example = route.example.as_deref().map(|text| format!("'{}'", text.replace('\'', r"'\''")));
    match route.payload {
        Some(PayloadKind::Bytes) => {
            let example = example.unwrap_or_else(|| "@FILE".to_owned());
            format!("curl --data-binary {example} -H 'content-type: application/octet-stream'{token} {url}{path}")
        }
        // The usual content type of `curl -d` is that of a form.
        Some(PayloadKind::Form(_)) => {
            let example = example.unwrap_or_else(|| "'name=value'".to_owned());
            format!("curl -d {example}{token} {url}{path}")
        }
        #[cfg(feature = "multipart")]
        Some(PayloadKind::Multipart) => {
            let example = example.unwrap_or_else(|| "'file=@FILE'".to_owned());
            format!("curl -F {example}{token} {url}{path}")
        }
        Some(PayloadKind::Json(_)) => {
            let example = example.unwrap_or_else(|| "'{}'".to_owned());
            format!("curl -d {example} -H 'content-type: application/json'{token} {url}{path}")
        }
        None => format!("curl -X POST{token} {url}{path}"),
    }
}
