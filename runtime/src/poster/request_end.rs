//! What a request ends with: its outcome, its reports, and its log line.

use http::{HeaderName, HeaderValue};

use super::formats::{Bodies, Formats};
use super::sink::refused_or_new;
use crate::spans;
use postback_store::{Extras, NewReport, Registration};
use postback_wire::id::{ReportId, RequestId};
use postback_wire::names::metric;
use postback_wire::report::{About, Ends, LAST_SEQUENCE, Outcome};
use postback_wire::trace::{TRACEPARENT, TRACESTATE, TraceParent};
use postback_wire::webhook::{Provenance, Target, Webhook, Webhooks};

/// The webhooks of a request, and the outcomes that are reported to these webhooks. Webhooks with an invalid URL are
/// included.
#[derive(Clone)]
pub(crate) struct Registered {
    pub(crate) webhooks: Vec<Target>,
    pub(crate) on: Ends,
    /// Whether the report says why the request was not completed. A report of a completed request has no reason.
    pub(crate) tells_reason: bool,
}

impl Registered {
    /// Returns the webhooks that the operator has set for the route. Returns `None` if there are no such webhooks.
    pub(crate) fn of_route(webhooks: &Webhooks) -> Option<Self> {
        let webhooks: Vec<_> = webhooks.resolve_for(Provenance::Operator).collect();
        (!webhooks.is_empty()).then(|| Self { webhooks, on: Ends::default(), tells_reason: false })
    }

    /// Returns the webhooks that are stored with the request. Webhooks with an invalid URL are left out.
    pub(crate) fn stored(&self) -> Registration {
        let webhooks = self.webhooks.iter().filter_map(|target| target.webhook().ok().cloned()).collect();
        Registration { webhooks, on: self.on, tells_reason: self.tells_reason }
    }
}

impl From<Registration> for Registered {
    fn from(stored: Registration) -> Self {
        let Registration { webhooks, on, tells_reason } = stored;
        Self { webhooks: webhooks.into_iter().map(Target::from).collect(), on, tells_reason }
    }
}

/// The outcome of a request and the reports of this outcome. The store commits the outcome and the reports together.
pub(crate) struct RequestEnd {
    pub(crate) outcome: Outcome,
    pub(crate) reports: Vec<NewReport>,
    /// The first part of the request's log line.
    log_prefix: String,
}

impl RequestEnd {
    /// Makes the reports of this outcome to the webhooks in `registered`, and to the webhook that the caller brought in
    /// `extras`. `log_prefix` is the first part of the request's log line. `formats` says which form the reports have.
    pub(crate) fn new(
        id: &RequestId,
        outcome: Outcome,
        registered: Option<Registered>,
        extras: Option<&Extras>,
        log_prefix: String,
        formats: &Formats,
    ) -> Self {
        let tells_reason = registered.as_ref().is_some_and(|registered| registered.tells_reason);
        let outcome = Outcome { tells_reason, ..outcome };
        let tells_progress = registered.as_ref().is_some_and(|registered| registered.on.contains(Ends::PROGRESS));
        let registered = registered.filter(|registered| registered.on.contains(outcome.end()));
        let mut targets = registered.map(|registered| registered.webhooks).unwrap_or_default();
        targets.extend(extras.and_then(|extras| of_caller(extras, &outcome, &targets)));
        // The first word of the log line is the path of the route.
        let source = log_prefix.split(' ').next().unwrap_or_default();
        let sequence = tells_progress.then_some(LAST_SEQUENCE);
        let metadata = extras.and_then(|extras| extras.metadata.as_deref());
        let about = About { id: id.as_str(), source, metadata, sequence };
        let reports = reports(&outcome, about, (targets, extras), &log_prefix, formats);
        Self { outcome, reports, log_prefix }
    }

    /// Counts the end of the request. Also writes the request's log line, unless the delivery of a report will write
    /// this line. Must be called after the commit.
    pub(crate) fn count_and_log(&self, id: &RequestId, route: &str) {
        let (outcome, reason, log_prefix) =
            (self.outcome.status.as_str(), self.outcome.reason.as_str(), &self.log_prefix);
        let of_route = route.to_owned();
        metrics::counter!(metric::REQUESTS_FINISHED, "route" => of_route, "status" => outcome, "reason" => reason)
            .increment(1);
        // If there is a report, its delivery writes the request's log line, together with the result of the first
        // attempt.
        if self.reports.is_empty() {
            tracing::info!(request_id = %id, route, outcome, reason, "{log_prefix} → no webhook");
        }
        for report in &self.reports {
            let Some(why) = &report.refused else { continue };
            let webhook_id = report.id;
            tracing::warn!(request_id = %id, route, %webhook_id, outcome, reason, "{log_prefix} → not sent: {why}");
        }
    }
}

/// Returns the webhook that the caller brought, unless the handler reports to the same URL already.
fn of_caller(extras: &Extras, outcome: &Outcome, targets: &[Target]) -> Option<Target> {
    let url = extras.webhook.as_deref().filter(|_| Ends::default().contains(outcome.end()))?;
    let target = Target::parse(url).or_chosen_by(Provenance::Caller);
    targets.iter().all(|other| other.url() != target.url()).then_some(target)
}

fn reports(
    outcome: &Outcome,
    about: About<'_>,
    (targets, extras): (Vec<Target>, Option<&Extras>),
    log_prefix: &str,
    formats: &Formats,
) -> Vec<NewReport> {
    if targets.is_empty() {
        return Vec::new();
    }
    let mut bodies = Bodies::new(outcome, about);
    let trace = Trace::of(extras);
    let report = |target| {
        let (format, target) = formats.decide(target);
        let mut report = refused_or_new(about.id, target, bodies.of(format), outcome.finished);
        if let (Some(trace), Target::Webhook(webhook)) = (&trace, &mut report.to) {
            trace.continue_in(webhook, report.id);
        }
        NewReport { note: Some(log_prefix.to_owned()), ..report }
    };
    targets.into_iter().map(report).collect()
}

/// The trace that a request belongs to. Reports of requests without a trace get one when they are sent.
pub(super) struct Trace {
    parent: TraceParent,
    /// Whether `parent` is the span of the run. Then the spans of the deliveries are below it. Otherwise `parent` is what
    /// the caller has sent, and no span of this program is exported.
    is_run: bool,
    state: Option<HeaderValue>,
}

impl Trace {
    pub(super) fn of(extras: Option<&Extras>) -> Option<Self> {
        let run = spans::current();
        let sent = || TraceParent::parse(extras?.traceparent.as_deref()?);
        let parent = run.or_else(sent)?;
        let state = extras.and_then(|extras| HeaderValue::try_from(extras.tracestate.as_deref()?).ok());
        Some(Self { parent, is_run: run.is_some(), state })
    }

    /// Adds the headers of the trace to a webhook, unless its user has set them.
    pub(super) fn continue_in(&self, webhook: &mut Webhook, report: ReportId) {
        if webhook.own().headers.contains_key(TRACEPARENT) {
            return;
        }
        let parent = if self.is_run { self.parent } else { self.parent.child(report.as_span()) };
        let parent = HeaderValue::try_from(parent.to_string()).ok();
        let headers = &mut webhook.own_mut().headers;
        headers.extend(parent.map(|parent| (HeaderName::from_static(TRACEPARENT), parent)));
        headers.extend(self.state.clone().map(|state| (HeaderName::from_static(TRACESTATE), state)));
    }
}

#[cfg(test)]
mod tests;
