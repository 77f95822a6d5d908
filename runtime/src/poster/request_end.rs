//! What a request ends with: its outcome, its reports, and its log line.

use bytes::Bytes;

use super::sink::refused_or_new;
use postback_store::{NewReport, Registration};
use postback_wire::id::RequestId;
use postback_wire::names::metric;
use postback_wire::report::{Ends, Outcome};
use postback_wire::webhook::{Provenance, Target, Webhooks};

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
    /// Makes the reports of this outcome to the webhooks in `registered`. `log_prefix` is the first part of the
    /// request's log line.
    pub(crate) fn new(id: &RequestId, outcome: Outcome, registered: Option<Registered>, log_prefix: String) -> Self {
        let tells_reason = registered.as_ref().is_some_and(|registered| registered.tells_reason);
        let outcome = Outcome { tells_reason, ..outcome };
        let registered = registered.filter(|registered| registered.on.contains(outcome.end()));
        let reports = match registered {
            Some(registered) => reports(id, &outcome, registered, &log_prefix),
            None => Vec::new(),
        };
        Self { outcome, reports, log_prefix }
    }

    /// Counts the end of the request. Also writes the request's log line, unless the delivery of a report will write
    /// this line. Must be called after the commit.
    pub(crate) fn count_and_log(&self, id: &RequestId, route: &str) {
        let (outcome, reason, log_prefix) =
            (self.outcome.status.as_str(), self.outcome.reason.as_str(), &self.log_prefix);
        let labels = [("route", route.to_owned()), ("status", outcome.to_owned()), ("reason", reason.to_owned())];
        metrics::counter!(metric::REQUESTS_FINISHED, &labels).increment(1);
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

fn reports(id: &RequestId, outcome: &Outcome, registered: Registered, log_prefix: &str) -> Vec<NewReport> {
    let body: Bytes = outcome.to_report(id.as_str());
    let report = |target| NewReport {
        note: Some(log_prefix.to_owned()),
        ..refused_or_new(id.as_str(), target, body.clone(), outcome.finished)
    };
    registered.webhooks.into_iter().map(report).collect()
}
