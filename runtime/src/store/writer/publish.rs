//! After the commit: answers, rows handed over in memory, wake-ups. Nothing of this happens before it.

use super::{Entry, Shared, Writer, tell};
use crate::line::Causes;
use crate::names::metric;
use crate::store::operation::{Op, Outgoing, Purged, Reply};
use crate::store::record::{NewRequest, Next, Settled, Submitted};
use crate::store::{Error, PreClaimed};
use tokio::sync::OwnedSemaphorePermit;

impl Writer {
    /// Tells everybody what was committed.
    pub(super) fn publish(&self, entries: &mut Vec<Entry>, replies: Vec<Reply>) {
        self.shared.disabled.learn(entries.iter().map(|entry| &entry.op).zip(&replies));
        let mut outcomes = Vec::with_capacity(entries.len());
        for (entry, reply) in entries.iter_mut().zip(replies) {
            outcomes.push(Outcome::of(&reply));
            entry.taken_in.written();
            self.learn(&entry.op, &reply);
            let reply = match reply {
                _ if matches!(entry.op, Op::Barrier) => Reply::Passed(entry.passed),
                Reply::Disabled(_) | Reply::Held => Reply::Settled(Settled::Current),
                reply => reply,
            };
            if let Some(untaken) = tell(entry, Ok(reply)) {
                self.shared.inbox.give_back(untaken);
            }
        }
        // All callers first: handing over may take longer.
        for (entry, outcome) in entries.drain(..).zip(outcomes) {
            self.shared.pass_on(entry, outcome);
        }
        self.shared.backlog.tell();
    }

    /// What a reply tells about rows that others are busy with or wait for.
    fn learn(&self, op: &Op, reply: &Reply) {
        match reply {
            Reply::Cancelling(Some(claim)) => self.shared.wake.cancels.cancel(claim),
            Reply::Reports(_) if matches!(op, Op::ClaimParked { .. }) => {}
            Reply::Requests(batch) => {
                self.shared.backlog.claimed(&batch.rows);
                self.shared.handoff.next_request(batch.next_due);
            }
            Reply::Recovered(recovered) => self.shared.backlog.claimed(&recovered.lost),
            Reply::Reports(batch) => self.shared.handoff.next_report(batch.next_due),
            Reply::GivenUp(ended) if !ended.is_empty() => {
                metrics::counter!(metric::DELIVERIES_FINISHED, "state" => "dead").increment(ended.len() as u64);
                for id in ended {
                    self.shared.counters.settled(Next::Dead);
                    self.shared.wake.tried.done(*id);
                }
            }
            Reply::Purged(Purged { given_up, .. }) if *given_up > 0 => {
                metrics::counter!(metric::DELIVERIES_FINISHED, "state" => "gone").increment(*given_up as u64);
            }
            _ => {}
        }
    }

    /// Ends operations that were not written.
    pub(super) fn fail(&self, entries: Vec<Entry>, error: &Error) {
        let mut lost = 0;
        for mut entry in entries {
            for outgoing in entry.op.reports() {
                self.shared.wake.tried.done(outgoing.report.id);
            }
            // Of a caller who is told so the reports are not lost: they are still its own.
            let told = entry.answer.take().is_some_and(|caller| caller.send(Err(error.clone())).is_ok());
            if told {
                entry.taken_in.given_back();
            } else {
                lost += entry.taken_in.reports();
            }
        }
        if lost > 0 {
            tracing::error!(error = %Causes(error), reports = lost, "{lost} reports are lost: the store cannot write them");
        }
    }
}

/// Whether the operation wrote what it was to write.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Written,
    Stale,
    /// A report that waits for its URL to be enabled.
    Held,
    /// A submission of an id that was there already.
    Known,
}

impl Outcome {
    fn of(reply: &Reply) -> Self {
        match reply {
            Reply::Settled(Settled::Stale) => Self::Stale,
            Reply::Held => Self::Held,
            Reply::Submitted(Submitted::Known | Submitted::Conflict) => Self::Known,
            _ => Self::Written,
        }
    }
}

impl Shared {
    fn pass_on(&self, entry: Entry, outcome: Outcome) {
        let op = entry.op;
        let kind = match &op {
            Op::SettleReport { .. } | Op::ReleaseReport { .. } | Op::ParkReport { .. } | Op::HoldReport { .. } => {
                "report"
            }
            _ => "request",
        };
        if outcome == Outcome::Stale {
            if let Op::SettleRequest { claim, .. } | Op::ReleaseRequest { claim, .. } = &op {
                self.wake.cancels.over(claim);
            }
            metrics::counter!(metric::STALE_SETTLES, "kind" => kind).increment(1);
            for outgoing in op.reports() {
                self.wake.tried.done(outgoing.report.id);
            }
            return;
        }
        match op {
            Op::Submit { .. } if outcome == Outcome::Known => {}
            Op::Submit { request, room: Some(room), place } => {
                if let Some(place) = place {
                    place.runs(&request.id);
                }
                self.hand_request(request, room);
            }
            Op::Submit { place, .. } => {
                if let Some(place) = place {
                    place.waits();
                }
                self.wake.requests.notify_one();
            }
            Op::Post { reports } => self.pass_on_reports(reports),
            Op::SettleRequest { claim, waited, reports, .. } => {
                self.backlog.settled(&claim.id, waited.as_ref());
                self.wake.watches.ended(&claim.id);
                self.wake.cancels.over(&claim);
                self.pass_on_reports(reports);
            }
            Op::ReleaseRequest { claim, .. } => {
                self.backlog.released(&claim.id);
                self.wake.cancels.over(&claim);
                self.wake.requests.notify_one();
            }
            Op::SettleReport { claim, next, .. } => {
                self.counters.settled(next);
                self.wake.tried.done(claim.id);
                if matches!(next, Next::RetryAt(_)) {
                    self.wake.reports.notify_one();
                }
            }
            // Nobody will try it.
            Op::HoldReport { claim } if outcome == Outcome::Held => self.wake.tried.done(claim.id),
            Op::HoldReport { .. } | Op::Enable { .. } => {
                self.handoff.report_waits(self.clock.now().due);
                self.wake.reports.notify_one();
            }
            Op::ReleaseReport { .. } | Op::Replay { .. } => self.wake.reports.notify_one(),
            Op::Recover { .. } => {
                self.wake.requests.notify_one();
                self.wake.reports.notify_one();
            }
            _ => {}
        }
    }

    fn pass_on_reports(&self, reports: Vec<Outgoing>) {
        metrics::counter!(metric::REPORTS_POSTED).increment(reports.len() as u64);
        for Outgoing { report, room } in reports {
            if report.refused.is_some() {
                continue;
            }
            match room {
                Some(room) => {
                    if let Some(claim) = self.handoff.give_report(PreClaimed { row: report.claimed(1, 1), room }) {
                        self.inbox.release_report(claim);
                    }
                }
                None => self.wake.reports.notify_one(),
            }
        }
    }

    fn hand_request(&self, request: NewRequest, room: OwnedSemaphorePermit) {
        if let Some(claim) = self.handoff.give_request(PreClaimed { row: request.claimed(1), room }) {
            self.inbox.release_request(claim);
        }
    }
}
