//! What a caller brings in the headers of a `POST`, because the body belongs to the handler: a webhook, metadata, when
//! and how the request runs, an idempotency key, and a trace.
//!
//! All headers are checked before the body is read. A wrong header is an error that names the header, and nothing is
//! accepted: a caller who asks for a deadline must not get a request without one.

use std::borrow::Cow;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use serde_json::Value;

use super::webhook_check::OTHER_HOST;
use crate::access::Caller;
use crate::handler::Route;
use crate::policy::guard::{Guard, Reach};
use crate::problem::{Code, Problem};
use postback_store::{Extras, IdempotencyKey, Terms};
use postback_wire::id::RequestId;
use postback_wire::line::Causes;
use postback_wire::names::{SCHEDULED_ID, header};
use postback_wire::time::Timestamp;
use postback_wire::trace::{self, TRACEPARENT};
use postback_wire::webhook::{Provenance, Webhook};

/// The largest metadata, in bytes.
const MAX_METADATA: usize = 4 << 10;
/// The longest idempotency key, in bytes.
pub(super) const MAX_KEY: usize = 255;
/// The longest time from now until a request runs or expires.
const MAX_AHEAD: Duration = Duration::from_hours(366 * 24);

/// The checked headers of a caller.
#[derive(Debug, Default)]
pub(super) struct Brought {
    /// The id that the caller has chosen. `None`: the server makes an id.
    pub(super) id: Option<RequestId>,
    pub(super) key: Option<IdempotencyKey>,
    pub(super) terms: Terms,
    pub(super) extras: Option<Arc<Extras>>,
}

/// What the checks depend on beside the headers.
pub(super) struct Context<'a> {
    pub(super) route: &'a Route,
    pub(super) caller: &'a Caller,
    pub(super) guard: &'a Guard,
    pub(super) now: Timestamp,
    /// The longest time that a run of the route may take.
    pub(super) timeout: Duration,
    /// Whether the header `x-request-id` is the id of the request.
    pub(super) accept_ids: bool,
}

impl Brought {
    pub(super) fn of(headers: &HeaderMap, context: &Context<'_>) -> Result<Self, Problem> {
        let limits = context.route.limits();
        let own = Terms { priority: limits.priority.unwrap_or(0), ..Terms::default() };
        let mut brought = Self { terms: own, ..Self::default() };
        let present = Present::of(headers);
        if !present.any() {
            return Ok(brought);
        }
        if context.accept_ids && present.id {
            brought.id = id(headers)?;
        }
        if present.key {
            let key = text(headers, header::IDEMPOTENCY_KEY)?.map(key).transpose()?;
            let Context { caller, route, .. } = context;
            brought.key = key.map(|key| IdempotencyKey::new(&caller.owner(), &route.path, &key));
        }
        let mut extras = Extras::default();
        if present.trace {
            (extras.traceparent, extras.tracestate) = trace::of(headers);
        }
        if present.ours {
            if headers.contains_key(header::QUERY) {
                let what = "is the server's; put the parameters into the query of the URL";
                return Err(Problem::invalid_header(header::QUERY, what));
            }
            brought.terms = terms(headers, context, own)?;
            extras.webhook = text(headers, header::WEBHOOK)?.map(|url| webhook(url, context)).transpose()?;
            extras.metadata = single(headers, header::METADATA)?.map(metadata).transpose()?;
        }
        brought.extras = extras.shared();
        Ok(brought)
    }
}

/// Which of the headers a call has. Most calls have none, and one pass over the headers finds that out: looking up each
/// of the names would cost more.
#[derive(Default)]
struct Present {
    id: bool,
    key: bool,
    trace: bool,
    /// Whether there is a header whose name begins with `postback-`.
    ours: bool,
}

impl Present {
    fn of(headers: &HeaderMap) -> Self {
        let mut present = Self::default();
        for name in headers.keys() {
            match name.as_str() {
                header::REQUEST_ID => present.id = true,
                header::IDEMPOTENCY_KEY => present.key = true,
                TRACEPARENT => present.trace = true,
                name => present.ours |= name.starts_with("postback-"),
            }
        }
        present
    }

    fn any(&self) -> bool {
        self.id || self.key || self.trace || self.ours
    }
}

/// Returns the only value of a header. `None`: the header is missing.
fn single<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a HeaderValue>, Problem> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (_, Some(_)) => Err(Problem::invalid_header(name, "is given more than once")),
        (value, None) => Ok(value),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, Problem> {
    let Some(value) = single(headers, name)? else { return Ok(None) };
    let text = value.to_str().map(str::trim).map_err(|_| Problem::invalid_header(name, "is not plain ASCII text"))?;
    if text.is_empty() { Err(Problem::invalid_header(name, "is empty")) } else { Ok(Some(text)) }
}

fn id(headers: &HeaderMap) -> Result<Option<RequestId>, Problem> {
    let name = header::REQUEST_ID;
    let id = text(headers, name)?.map(RequestId::from_str).transpose();
    let id =
        id.map_err(|error| Problem::invalid_header(name, format_args!("is the id of the request here, and {error}")))?;
    // Otherwise a caller could take the id of a tick, and the schedule would make no request.
    match id {
        Some(id) if id.as_str().starts_with(SCHEDULED_ID) => Err(Problem::invalid_header(
            name,
            format_args!(
                "is the id of the request here, and ids that begin with {SCHEDULED_ID} are those of schedules"
            ),
        )),
        id => Ok(id),
    }
}

/// Reads an idempotency key: a string in double quotes, as the draft of the IETF says (a string of RFC 9651), or the
/// same text without quotes, as most clients send it.
fn key(text: &str) -> Result<Cow<'_, str>, Problem> {
    let wrong = |what: &str| Problem::invalid_header(header::IDEMPOTENCY_KEY, what);
    let key = match text.strip_prefix('"') {
        Some(rest) => {
            let key = unquoted(rest);
            key.ok_or_else(|| wrong("begins with a double quote, and is not a string of RFC 9651"))?.into()
        }
        None => Cow::from(text),
    };
    match key.len() {
        0 => Err(wrong("is empty")),
        1..=MAX_KEY => Ok(key),
        length => Err(wrong(&format!("has {length} bytes; {MAX_KEY} are allowed"))),
    }
}

/// Reads the rest of a quoted string. In it, a backslash stands before a double quote or a backslash.
fn unquoted(rest: &str) -> Option<String> {
    let (mut text, mut chars) = (String::new(), rest.chars());
    loop {
        match chars.next()? {
            '"' => return chars.next().is_none().then_some(text),
            '\\' => text.push(chars.next().filter(|c| matches!(c, '"' | '\\'))?),
            other => text.push(other),
        }
    }
}

fn terms(headers: &HeaderMap, context: &Context<'_>, own: Terms) -> Result<Terms, Problem> {
    let run_at = text(headers, header::RUN_AT)?.map(|text| moment(header::RUN_AT, text, context.now)).transpose()?;
    let deadline = text(headers, header::DEADLINE)?.map(|text| moment(header::DEADLINE, text, context.now));
    let deadline = deadline.transpose()?;
    if deadline.is_some_and(|deadline| deadline <= run_at.unwrap_or(context.now).max(context.now)) {
        let what = if run_at.is_some() { "is not after postback-run-at, or is over" } else { "is over" };
        return Err(Problem::invalid_header(header::DEADLINE, what));
    }
    let run_at = run_at.filter(|at| *at > context.now);
    let timeout = text(headers, header::TIMEOUT)?.map(|text| timeout(text, context.timeout)).transpose()?;
    let asked = text(headers, header::PRIORITY)?.map(|text| priority(text, context.route)).transpose()?;
    Ok(Terms { priority: asked.unwrap_or(own.priority), run_at, deadline, timeout })
}

/// Reads a time of RFC 3339, or a duration from now that begins with a plus sign.
fn moment(name: &'static str, text: &str, now: Timestamp) -> Result<Timestamp, Problem> {
    let at = match text.strip_prefix('+') {
        Some(duration) => humantime::parse_duration(duration.trim()).ok().map(|ahead| now.saturating_add(ahead)),
        None => Timestamp::parse(text),
    };
    let wrong = "is neither a time of RFC 3339, such as 2027-01-31T08:00:00Z, nor a duration from now, such as +10m";
    let at = at.ok_or_else(|| Problem::invalid_header(name, wrong))?;
    if at > now.saturating_add(MAX_AHEAD) {
        return Err(Problem::invalid_header(name, "is more than a year ahead"));
    }
    Ok(at)
}

fn timeout(text: &str, longest: Duration) -> Result<Duration, Problem> {
    let wrong = |what: String| Problem::invalid_header(header::TIMEOUT, what);
    let timeout = humantime::parse_duration(text).map_err(|_| wrong("is not a duration, such as 30s".to_owned()))?;
    if timeout.is_zero() || timeout > longest {
        let longest = humantime::format_duration(longest);
        return Err(wrong(format!("must be more than zero, and at most {longest}, the limit of this route")));
    }
    Ok(timeout)
}

fn priority(text: &str, route: &Route) -> Result<i8, Problem> {
    if !route.limits().allow_priority.unwrap_or(false) {
        return Err(Problem::invalid_header(header::PRIORITY, "is not allowed by this route"));
    }
    let priority = text.parse().ok().filter(|priority| (-100..=100).contains(priority));
    priority.ok_or_else(|| Problem::invalid_header(header::PRIORITY, "is not a whole number from -100 to 100"))
}

/// Checks the URL of the caller's webhook. Only its text is checked, as [`webhook_check`](super::webhook_check) says.
fn webhook(url: &str, context: &Context<'_>) -> Result<Box<str>, Problem> {
    let name = header::WEBHOOK;
    if !context.route.caller_webhook {
        return Err(Problem::invalid_header(name, "is not allowed by this route"));
    }
    let refused = |what: &str| {
        let detail = format!("the webhook in the header {name} cannot be used: {what}");
        Problem::new(Code::InvalidWebhook, detail).member("header", name)
    };
    let webhook = Webhook::new(url).map_err(|error| refused(&Causes(&error).to_string()))?;
    let webhook = webhook.chosen_by(Some(Provenance::Caller));
    // The answer does not tell the caller which network contains the address, or which setting forbids the address.
    let reachable = context.guard.check_url(webhook.url(), Reach::Public);
    reachable.map_err(|_| refused("its host is an address that the webhook of a caller may not reach"))?;
    if !context.caller.may_report_to(webhook.url()) {
        return Err(refused(OTHER_HOST));
    }
    Ok(webhook.url().as_str().into())
}

fn metadata(value: &HeaderValue) -> Result<Box<str>, Problem> {
    let wrong = |what: String| Problem::invalid_header(header::METADATA, what);
    if value.len() > MAX_METADATA {
        return Err(wrong(format!("has {} bytes; {MAX_METADATA} are allowed", value.len())));
    }
    let text = std::str::from_utf8(value.as_bytes()).map_err(|_| wrong("is not UTF-8".to_owned()))?;
    // The parser also limits how deep the JSON is, so a receiver can read what is sent on.
    serde_json::from_str::<Value>(text).map_err(|error| wrong(format!("is not JSON: {error}")))?;
    Ok(text.trim().into())
}

#[cfg(test)]
mod tests;
