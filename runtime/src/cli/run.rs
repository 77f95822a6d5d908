//! The command `run`: the arguments, the payload, and what is printed about the run.

use std::fmt::Write as _;
use std::io::Read;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Args;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;
use serde_json::Value;

use super::Common;
use super::remote::json;
use crate::app::Ran;
use postback_store::DeliveryRecord;
use postback_wire::line::Escaped;
use postback_wire::names::header::QUERY;
use postback_wire::report::Status;
use postback_wire::webhook::shown;

const ABOUT: &str =
    "The run needs no server and no database, and sends nothing: the reports are printed. It is one run, whatever
worker.max_attempts is. The exit code is 0 if the request completed, 1 if not, and 2 if there was no run because of the
route, the payload or the query.";

/// The longest query in bytes. A server takes a path and a query of 8 KiB together.
const MAX_QUERY: usize = 8 << 10;

/// The arguments of `run`.
#[derive(Debug, Args)]
#[command(after_help = ABOUT)]
pub(crate) struct RunRoute {
    /// The path of the route, such as /greet
    pub(crate) route: String,
    /// Read the payload from this file, or from standard input if it is `-`; empty, if left out
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// A header of the request, such as 'x-user: 7'; may be repeated
    #[arg(long, value_name = "HEADER", value_parser = header)]
    header: Vec<(HeaderName, HeaderValue)>,
    /// The query of the request, such as 'lang=en&size=2'
    #[arg(long, value_name = "QUERY", value_parser = query)]
    query: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(super) common: Common,
}

/// Reads a header from the command line.
pub(super) fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("a header looks like `name: value`")?;
    let name = name.trim().parse::<HeaderName>().map_err(|error| error.to_string())?;
    let value = value.trim().parse::<HeaderValue>().map_err(|error| error.to_string())?;
    Ok((name, value))
}

/// Reads the query of a URL from the command line.
pub(super) fn query(text: &str) -> Result<String, String> {
    let query = text.strip_prefix('?').unwrap_or(text);
    let is_query = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
    if query.len() > MAX_QUERY || !query.bytes().all(is_query) {
        return Err(format!(
            "a query is at most {MAX_QUERY} visible ASCII characters without `#`; write others as %, such as %20"
        ));
    }
    Ok(query.to_owned())
}

impl RunRoute {
    /// Returns the headers and the payload. A payload of more than `max` bytes is refused, as the API refuses it.
    pub(crate) fn request(&self, max: usize) -> Result<(HeaderMap, Bytes), String> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.header {
            headers.append(name.clone(), value.clone());
        }
        if !headers.contains_key(CONTENT_TYPE) {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(query) = self.query.as_deref().filter(|query| !query.is_empty()) {
            let value = HeaderValue::from_str(query).map_err(|error| error.to_string())?;
            headers.insert(QUERY, value);
        }
        Ok((headers, read_file(self.input.as_deref(), max)?.into()))
    }

    /// Returns the text to print, and whether the request completed.
    pub(crate) fn shown(&self, ran: &Ran) -> Result<(String, bool), String> {
        let is_completed = ran.outcome.status == Status::Completed;
        let told = Told::of(ran, &self.route);
        let text = if self.json { json(&told)? } else { told.lines() };
        Ok((text, is_completed))
    }
}

/// Reads a payload of at most `max` bytes from a file, or from standard input if the path is `-`.
pub(super) fn read_file(path: Option<&Path>, max: usize) -> Result<Vec<u8>, String> {
    match path {
        None => Ok(Vec::new()),
        Some(path) if path.as_os_str() == "-" => read(std::io::stdin().lock(), max, "standard input"),
        Some(path) => {
            let shown = path.display().to_string();
            let file = std::fs::File::open(path).map_err(|error| format!("cannot read {shown}: {error}"))?;
            read(file, max, &shown)
        }
    }
}

fn read(from: impl Read, max: usize, name: &str) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    let read = from.take(max as u64 + 1).read_to_end(&mut body);
    read.map_err(|error| format!("cannot read {name}: {error}"))?;
    if body.len() > max {
        return Err(format!("{name} has more than the {max} bytes that a payload may have (server.max_payload)"));
    }
    Ok(body)
}

/// What is printed about a run.
#[derive(Serialize)]
struct Told {
    id: String,
    route: String,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Value>,
    /// What the log says about a failure. Reports do not have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    ms: u64,
    reports: Vec<ToldReport>,
}

/// A report that a server would send.
#[derive(Serialize)]
struct ToldReport {
    url: String,
    webhook_id: String,
    body: String,
    /// Whether the body is longer than what is shown.
    truncated: bool,
    /// Why it would not be sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

impl Told {
    fn of(ran: &Ran, route: &str) -> Self {
        let value = |json: &Option<postback_wire::report::Json>| {
            json.as_ref().and_then(|json| serde_json::from_slice(json.bytes()).ok())
        };
        let outcome = &ran.outcome;
        let reports = ran.reports.iter().map(|(DeliveryRecord { webhook_id, url, refused, .. }, body)| ToldReport {
            url: shown(url),
            webhook_id: webhook_id.to_string(),
            body: String::from_utf8_lossy(&body.start).into_owned(),
            truncated: !body.is_whole(),
            refused: refused.clone(),
        });
        Self {
            id: ran.id.to_string(),
            route: route.to_owned(),
            status: outcome.status.as_str(),
            reason: (outcome.status != Status::Completed).then(|| outcome.reason.as_str()),
            result: value(&outcome.result),
            error: value(&outcome.error),
            detail: outcome.detail.clone(),
            ms: u64::try_from(ran.took.as_millis()).unwrap_or(u64::MAX),
            reports: reports.collect(),
        }
    }

    fn lines(&self) -> String {
        let Self { id, route, status, reason, result, error, detail, ms, reports } = self;
        let reason = reason.map_or_else(String::new, |reason| format!(" ({reason})"));
        let mut text = format!("{}  {id}  {status}{reason} in {ms} ms\n", Escaped(route));
        // The results of `writeln!` are ignored, because writing to a `String` cannot fail.
        let mut say = |name: &str, value: &str| {
            let _ = writeln!(text, "  {name:<7} {}", Escaped(value));
        };
        for (name, value) in [("result", result), ("error", error)] {
            if let Some(value) = value {
                say(name, &value.to_string());
            }
        }
        if let Some(detail) = detail {
            say("detail", detail);
        }
        for ToldReport { url, body, truncated, refused, .. } in reports {
            let more = if *truncated { "…" } else { "" };
            match refused {
                Some(why) => say("report", &format!("to {url} would not be sent: {why}")),
                None => say("report", &format!("to {url}  {body}{more}")),
            }
        }
        if reports.is_empty() {
            say("report", "none: there is no webhook, or it does not want this outcome");
        }
        text
    }
}
