//! Sends progress reports while a request runs. The store does not have them: each is sent at once or not at all. For
//! each run and webhook, at most one attempt is in flight.
//!
//! Invariants: a run can end its attempt, and learns when nothing of the attempt is left. An attempt takes less time than
//! the margin that a node keeps of its lease, so no attempt goes on after another node has taken the request over.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::attempt::Message;
use super::control::{Control, Order};
use super::deliver::Deliverer;
use super::event::Slot;
use super::log;
use super::scheduler::Withheld;
use crate::policy::after_attempt::AttemptEnd;
use postback_store::LEASE_MARGIN;
use postback_store::shutdown::Shutdown;
use postback_wire::id::{ReportId, RequestId};
use postback_wire::webhook::{Shown, Webhook};

/// The longest time that an attempt may take. It is shorter than the margin of the lease of a node, and than the time of
/// other attempts, because the next progress is worth more than an old one.
const LONGEST: Duration = Duration::from_secs(4);
const _: () = assert!(LONGEST.as_millis() < LEASE_MARGIN.as_millis());

/// A report of the progress of a run.
#[derive(Clone, Debug)]
pub(crate) struct ProgressReport {
    pub(crate) id: ReportId,
    pub(crate) request: RequestId,
    pub(crate) webhook: Webhook,
    pub(crate) body: Bytes,
}

/// What has come of a report of a progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProgressEnd {
    /// The receiver has taken it.
    Sent,
    /// The attempt failed, or the report may not be sent now. The next one may be.
    Failed,
    /// Nothing was sent: the origin has no room for an attempt at the moment.
    Busy,
    /// The receiver wants no reports at this URL.
    Unwanted,
}

/// An order to the delivery to make one attempt. The attempt ends if the run drops the receiver of the answer.
pub(super) struct ProgressOrder {
    pub(super) report: ProgressReport,
    answer: oneshot::Sender<ProgressEnd>,
    /// Dropped when nothing of the attempt is left.
    held: TaskTrackerToken,
}

impl ProgressOrder {
    /// Whether nobody waits for the attempt any more.
    pub(super) fn is_given_up(&self) -> bool {
        self.answer.is_closed()
    }

    /// The URL without its query. URLs that differ only in their query share one circuit.
    pub(super) fn url(&self) -> &str {
        let url = self.report.webhook.url().as_str();
        url.find(['?', '#']).map_or(url, |end| &url[..end])
    }

    /// Answers that there is no attempt.
    pub(super) fn withhold(self, why: Withheld) {
        let end = match why {
            Withheld::Circuit => ProgressEnd::Failed,
            Withheld::Busy => ProgressEnd::Busy,
        };
        tracing::debug!(request_id = %self.report.request, "a progress report of {} is not sent now: {why}", self.report.request);
        // Sending fails if the run has ended.
        let _ = self.answer.send(end);
    }
}

impl Control {
    /// Makes one attempt to send this report, if its origin has room for it now. If the future is dropped, the attempt ends.
    /// When nothing of the attempt is left, `held` is dropped.
    pub(crate) async fn send_progress(&self, report: ProgressReport, held: TaskTrackerToken) -> ProgressEnd {
        let (answer, answered) = oneshot::channel();
        let order = Order::Progress(Box::new(ProgressOrder { report, answer, held }));
        if self.order(order).await.is_err() {
            return ProgressEnd::Failed;
        }
        // Receiving fails if the delivery stops.
        answered.await.unwrap_or(ProgressEnd::Failed)
    }
}

impl Deliverer {
    /// Makes the attempt to send a progress report. The attempt ends early if the run gives it up.
    pub(super) async fn send_progress(&self, order: ProgressOrder, slot: Slot, stop: &Shutdown) {
        let ProgressOrder { report, mut answer, held } = order;
        let end = tokio::select! {
            biased;
            // The drop of the attempt closes its connection, or resets its stream.
            () = answer.closed() => None,
            () = stop.stopping() => None,
            end = self.attempt_progress(&report) => Some(end),
        };
        // The slot says nothing of the receiver's health: a receiver that takes the outcomes and fails for these reports
        // must not open a circuit, which would delay the outcomes.
        drop((slot, held));
        if let Some(end) = end {
            // Sending fails if the run has ended meanwhile.
            let _ = answer.send(end);
        }
    }

    async fn attempt_progress(&self, report: &ProgressReport) -> ProgressEnd {
        let ProgressReport { id, request, webhook, body } = report;
        // From here on, the node has its lease for longer than the attempt may take.
        self.store.may_begin().await;
        if self.store.is_disabled(webhook.url().as_str()) {
            return ProgressEnd::Failed;
        }
        let rules = self.rules();
        let policy = rules.destinations.policy_for(webhook);
        let message = Message { id: *id, subject: request.as_str(), body: body.clone(), span: None };
        let url = Shown(webhook.url());
        let result = tokio::select! {
            // The time comes first: after a machine has stood still, nothing is sent that is out of date.
            biased;
            () = tokio::time::sleep(LONGEST) => {
                let limit = log::spoken(LONGEST);
                tracing::debug!(
                    request_id = %request, webhook_id = %id, %url, "a progress report of {request} was not taken by {url} within {limit}"
                );
                return ProgressEnd::Failed;
            }
            result = self.sender.send(message, webhook, &policy) => result,
        };
        let (status, error) = (result.attempt.status, result.attempt.error.as_deref());
        let ms = u64::try_from(result.attempt.took.as_millis()).unwrap_or(u64::MAX);
        let end = match result.end {
            AttemptEnd::Answered(answer) if answer.is_success() => ProgressEnd::Sent,
            AttemptEnd::Answered(answer) if answer.disables() => ProgressEnd::Unwanted,
            AttemptEnd::Refused | AttemptEnd::ForbiddenAddress => ProgressEnd::Unwanted,
            AttemptEnd::Answered(_) | AttemptEnd::Failed | AttemptEnd::NotMade => ProgressEnd::Failed,
        };
        let why = if end == ProgressEnd::Sent { "was taken" } else { error.unwrap_or("was not taken") };
        tracing::debug!(
            request_id = %request, webhook_id = %id, http_status = status, %url, ms, "a progress report of {request} to {url}: {why}"
        );
        end
    }
}

impl std::fmt::Display for Withheld {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Circuit => "the circuit is open",
            Self::Busy => "its origin has no room for it",
        })
    }
}
