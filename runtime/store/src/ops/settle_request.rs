//! Ends a request: writes its outcome and the reports about it.

use std::sync::Arc;

use bytes::Bytes;

use crate::Store;
use crate::backlog::Waited;
use crate::error::Error;
use crate::feed::Change;
use crate::local::Local;
use crate::operation::{Effect, Key, Operation, Outgoing, Untaken};
use crate::overview::RequestStatus;
use crate::quota::Quotas;
use crate::record::{NewReport, RequestClaim, Settled};
use crate::sizes::{outcome_bytes, report_bytes};
use postback_wire::line::Escaped;
use postback_wire::names::metric;
use postback_wire::report::{Outcome, Status};

/// The operation that writes the outcome of a request and the reports about the request, if the claim is current.
#[derive(Debug)]
pub(crate) struct SettleRequest {
    pub claim: RequestClaim,
    /// If the request waits for a worker: the route and the size of the request, which the store subtracts from its
    /// count of waiting requests. In this case, `claim` has the epoch that the caller has read, so the claim is stale
    /// if a worker has claimed the request since then. `None`: the request runs under the claim.
    pub waited: Option<Waited>,
    pub outcome: Outcome,
    pub reports: Vec<Outgoing>,
}

impl SettleRequest {
    /// Makes the operation that settles a running request.
    pub(crate) fn running(claim: RequestClaim, outcome: Outcome, reports: Vec<NewReport>) -> Self {
        Self { claim, waited: None, outcome, reports: Outgoing::all(reports) }
    }

    /// Makes the operation that settles a waiting request.
    pub(crate) fn queued(claim: RequestClaim, waited: Waited, outcome: Outcome, reports: Vec<NewReport>) -> Self {
        Self { claim, waited: Some(waited), outcome, reports: Outgoing::all(reports) }
    }

    pub(crate) fn is_queued(&self) -> bool {
        self.waited.is_some()
    }
}

impl Operation for SettleRequest {
    type Answer = Settled;

    fn key(&self) -> Option<Key> {
        Some(Key::Request(self.claim.id.clone()))
    }

    fn reports(&self) -> &[Outgoing] {
        &self.reports
    }

    fn reports_mut(&mut self) -> &mut [Outgoing] {
        &mut self.reports
    }

    fn rows(&self) -> usize {
        self.reports.len() + 1
    }

    fn own_bytes(&self) -> usize {
        outcome_bytes(&self.outcome)
    }

    /// Reserves memory for each report in the memory backend. If too little memory is free for a report, refuses that
    /// report. Never refuses the outcome.
    fn reserve(&mut self, quotas: &Quotas) -> bool {
        for Outgoing { report, .. } in &mut self.reports {
            if report.refused.is_none() && !quotas.reports.try_reserve(1, report_bytes(report)) {
                metrics::counter!(metric::REPORTS_LOST, "reason" => "store_full").increment(1);
                tracing::warn!(
                    request_id = %Escaped(&report.subject),
                    webhook_id = %report.id,
                    "a report of {} is not sent: the in-memory store is full",
                    Escaped(&report.subject)
                );
                let report = Arc::make_mut(report);
                report.refused = Some("the in-memory store is full".into());
                report.body = Bytes::new();
            }
        }
        true
    }

    fn changes(&self, answer: &Settled, changes: &mut Vec<Change>) {
        if *answer == Settled::Current {
            let status = match self.outcome.status {
                Status::Completed => RequestStatus::Completed,
                Status::Cancelled => RequestStatus::Cancelled,
                _ => RequestStatus::Failed,
            };
            changes.push(Change::request(&self.claim.id, status));
        }
    }

    fn effect(answer: &Settled) -> Effect {
        (*answer).into()
    }

    fn announce(self, local: &Local, untaken: &mut Untaken) {
        let route = local.backlog.settled(&self.claim.id, self.waited.as_ref());
        let waited = self.waited.as_ref().map(|waited| &*waited.route);
        local.tally.ended(waited.or(route.as_deref()), self.outcome.status);
        local.wake.watches.ended(&self.claim.id);
        local.wake.cancels.over(&self.claim);
        Outgoing::announce(self.reports, local, untaken);
    }

    fn stale(&self, local: &Local) {
        local.wake.cancels.over(&self.claim);
    }
}

impl Store {
    /// Settles a request: writes its outcome and its reports in one commit.
    pub async fn settle_request(
        &self,
        claim: RequestClaim,
        outcome: Outcome,
        reports: Vec<NewReport>,
    ) -> Result<Settled, Error> {
        self.ask(SettleRequest::running(claim, outcome, reports)).await
    }
}
