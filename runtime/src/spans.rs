//! The spans of a request for tracing systems: submit, queue, run, and one for each attempt of a delivery.
//!
//! The spans are one trace, also if the server is restarted in between or if several nodes take part: each span that
//! is followed by a later one is stored as the `traceparent` of the request or of its report. The spans have names and
//! attributes after OpenTelemetry's conventions for HTTP and messaging.
//!
//! All of them have the target [`target::TRACE`], which the log never shows. So a span costs nothing unless the traces
//! are exported. The span that the log shows for a run is made by the worker.

#[cfg(feature = "otlp")]
pub(crate) mod link;
#[cfg(not(feature = "otlp"))]
#[path = "spans/unlinked.rs"]
mod link;

use tracing::Span;
use tracing::field::Empty;

#[cfg(feature = "server")]
use postback_store::{ClaimedRequest, Extras};
use postback_wire::id::{ReportId, RequestId};
use postback_wire::names::target;
#[cfg(feature = "server")]
use postback_wire::report::Status;
#[cfg(feature = "server")]
use postback_wire::time::Timestamp;
use postback_wire::trace::TraceParent;
use postback_wire::webhook::{Shown, Webhook};

/// The name of this program as a messaging system.
const SYSTEM: &str = "postback";

/// Makes the span of the acceptance of a request. It continues the trace of the caller, if there is one.
#[cfg(feature = "server")]
pub(crate) fn submit(route: &str, id: &RequestId, extras: Option<&Extras>) -> Span {
    let span = tracing::debug_span!(
        target: target::TRACE, "submit",
        otel.name = %format_args!("POST {route}"), otel.kind = "server", otel.status_code = Empty,
        http.request.method = "POST", http.route = route, url.path = route, http.response.status_code = Empty,
        messaging.system = SYSTEM, messaging.operation.name = "submit", messaging.operation.type = "send",
        messaging.destination.name = route, messaging.message.id = %id, request_id = %id, route, error.type = Empty,
    );
    link::begin(&span, extras.and_then(parent), || RequestId::as_trace(id.as_str()));
    span
}

/// Records how the acceptance of a request was answered.
#[cfg(feature = "server")]
pub(crate) fn answered(span: &Span, status: u16) {
    if span.is_disabled() {
        return;
    }
    span.record("http.response.status_code", status);
    if status >= 500 {
        failed(span, &status.to_string());
    }
}

/// Makes the span of a run. The spans that the handler makes are below it. It continues the trace of the request.
#[cfg(feature = "server")]
pub(crate) fn run(row: &ClaimedRequest) -> Span {
    let (route, attempt) = (&*row.route, row.attempt());
    let span = tracing::debug_span!(
        target: target::TRACE, "process",
        otel.name = %format_args!("process {route}"), otel.kind = "consumer", otel.status_code = Empty,
        messaging.system = SYSTEM, messaging.operation.name = "process", messaging.operation.type = "process",
        messaging.destination.name = route, messaging.message.id = %row.claim.id, request_id = %row.claim.id, route,
        attempt, outcome = Empty, error.type = Empty,
    );
    link::begin(&span, of_row(row), || RequestId::as_trace(row.claim.id.as_str()));
    span
}

/// Records the time for which a request has waited for its first run, as a span beside that of the run.
#[cfg(feature = "server")]
pub(crate) fn queued(row: &ClaimedRequest, now: Timestamp) {
    link::past("queue", &row.route, row.claim.id.as_str(), of_row(row), (row.created, now));
}

/// Records in the span of the current run how the run has ended. `reason` is the reason of a failure.
#[cfg(feature = "server")]
pub(crate) fn ended(outcome: &'static str, reason: &'static str) {
    if !link::CAN_EXPORT {
        return;
    }
    let span = Span::current();
    span.record("outcome", outcome);
    if outcome == Status::Failed.as_str() {
        failed(&span, reason);
    }
}

/// The report that an attempt sends.
pub(crate) struct OfReport<'a> {
    pub(crate) webhook_id: ReportId,
    pub(crate) subject: &'a str,
    pub(crate) route: Option<&'a str>,
    /// The number of the attempt. The first has the number 1.
    pub(crate) attempt: u32,
}

/// Makes the span of an attempt. It continues the trace of the run, which is stored with the report.
pub(crate) fn attempt(report: &OfReport<'_>, webhook: &Webhook) -> Span {
    let OfReport { webhook_id, subject, route, attempt } = report;
    let url = webhook.url();
    let span = tracing::debug_span!(
        target: target::TRACE, "deliver",
        otel.name = "POST", otel.kind = "client", otel.status_code = Empty,
        http.request.method = "POST", url.full = %Shown(url), server.address = url.host_str(),
        server.port = url.port_or_known_default(), http.response.status_code = Empty,
        http.request.resend_count = (*attempt > 1).then(|| attempt - 1),
        messaging.system = SYSTEM, messaging.operation.name = "deliver", messaging.message.id = %webhook_id,
        webhook_id = %webhook_id, request_id = subject, route, attempt, error.type = Empty,
    );
    let stored = webhook.own().headers.get(postback_wire::trace::TRACEPARENT);
    let stored = stored.and_then(|value| TraceParent::parse(value.to_str().ok()?));
    link::begin(&span, stored, || RequestId::as_trace(subject));
    span
}

/// Records how an attempt has ended: the status of the answer, and a word for what went wrong.
pub(crate) fn attempted(span: &Span, status: Option<u16>, error: Option<&'static str>) {
    if span.is_disabled() {
        return;
    }
    if let Some(status) = status {
        span.record("http.response.status_code", status);
    }
    match (status, error) {
        (Some(status), _) if status >= 300 => failed(span, &status.to_string()),
        (None, Some(error)) => failed(span, error),
        _ => {}
    }
}

/// Returns the place of a span in its trace, if the span belongs to a trace that is exported, or that was not chosen to
/// be exported. `None`: traces are not exported at all, or not from here.
pub(crate) fn context(span: &Span) -> Option<TraceParent> {
    if span.is_disabled() { None } else { link::context(span) }
}

/// Returns the [`context`] of the current run.
pub(crate) fn current() -> Option<TraceParent> {
    link::current()
}

#[cfg(feature = "server")]
fn of_row(row: &ClaimedRequest) -> Option<TraceParent> {
    parent(row.extras.as_deref()?)
}

#[cfg(feature = "server")]
fn parent(extras: &Extras) -> Option<TraceParent> {
    TraceParent::parse(extras.traceparent.as_deref()?)
}

fn failed(span: &Span, why: &str) {
    span.record("otel.status_code", "error");
    span.record("error.type", why);
}
