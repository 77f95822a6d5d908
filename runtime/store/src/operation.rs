//! The trait that every kind of operation implements. The writer and the backends know operations only by this trait,
//! so a new kind changes no other kind.
//!
//! An operation is data: the writer can apply it again after a failure, put it into another batch, and give it to any
//! backend.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use crate::feed::Change;
use crate::handoff::PreClaimed;
use crate::local::Local;
use crate::overview::DeliveryStatus;
use crate::quota::Quotas;
use crate::record::{NewReport, ReportClaim, RequestClaim, Settled};
use crate::sizes::report_units;
use postback_wire::id::{ReportId, RequestId};
use postback_wire::names::metric;
use postback_wire::time::Timestamp;

/// A kind of operation. The struct that implements this trait has the input of the operation.
///
/// The writer calls [`prepare`](Self::prepare). Then the backend applies and commits the batch. Then the writer calls
/// [`committed`](Self::committed) for all operations of the batch. Then every caller receives its answer. At last the
/// writer calls [`announce`](Self::announce) or [`stale`](Self::stale).
pub(crate) trait Operation {
    /// The type of the answer that the caller receives.
    type Answer;

    /// Returns the identifier of the request or report that the operation changes. A batch has at most one operation
    /// with the same identifier. A second operation with the same identifier waits for the next batch.
    fn key(&self) -> Option<Key> {
        None
    }

    /// Returns the reports that the operation writes. The ids of these reports are keys of the operation, as
    /// [`key`](Self::key) is.
    fn reports(&self) -> &[Outgoing] {
        &[]
    }

    fn reports_mut(&mut self) -> &mut [Outgoing] {
        &mut []
    }

    /// Returns the number of rows of the operation. Limits on rows in a queue and in a batch use this number.
    fn rows(&self) -> usize {
        1
    }

    /// Returns roughly how many bytes of memory the operation uses without its reports.
    fn own_bytes(&self) -> usize {
        0
    }

    /// Returns the name of the queue in which the operation waits for the writer. Each route and each origin has its
    /// own queue.
    fn line(&self) -> Line<'_> {
        Line::None
    }

    /// Returns the number of reports that a caller loses if the store never writes this operation.
    fn posted(&self) -> usize {
        0
    }

    /// Reserves memory for the rows of the operation in the memory backend. Returns `false` if too little memory is
    /// free; then the operation is refused.
    fn reserve(&mut self, _quotas: &Quotas) -> bool {
        true
    }

    /// Prepares the operation. The writer calls `prepare` when it puts the operation into a batch. `_now` is the
    /// store's own time.
    fn prepare(&mut self, _local: &Local, _now: Timestamp) {}

    /// Updates the data that this process keeps in memory. The writer calls `committed` after the commit, before any
    /// caller of the batch has its answer. The writer calls `committed` for all operations of one stage, and then for
    /// all operations of the next stage.
    fn committed(&self, _answer: &Self::Answer, _local: &Local) {}

    /// Adds the changes of requests and deliveries that the operation has made to `_changes`, for the change feed. The
    /// writer calls `changes` only if somebody listens to the feed. The reports that the operation has written are
    /// added by the writer.
    fn changes(&self, _answer: &Self::Answer, _changes: &mut Vec<Change>) {}

    /// Returns the change that the operation has made in the store. The change depends on the answer.
    fn effect(_answer: &Self::Answer) -> Effect {
        Effect::Written
    }

    /// Sends the pre-claimed rows of the operation to the worker or the delivery, and wakes the tasks that wait for
    /// unclaimed rows. If no worker or delivery receives a pre-claimed row, adds the claim of the row to `_untaken`.
    /// The writer calls `announce` if the effect is [`Effect::Written`], after all callers of the batch have their
    /// answers.
    fn announce(self, _local: &Local, _untaken: &mut Untaken)
    where
        Self: Sized,
    {
    }

    /// Handles a stale claim. The writer calls `stale` instead of [`announce`](Self::announce) if the effect is
    /// [`Effect::Stale`].
    fn stale(&self, _local: &Local) {}

    /// Adds the claims in an answer to `_untaken`, because no caller receives the answer. After that the store makes
    /// the claimed rows wait again.
    fn untaken(_answer: Self::Answer, _untaken: &mut Untaken) {}
}

/// The part of a transaction in which a backend applies an operation. A backend applies the stages in the order of
/// these variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The stage that writes new rows and settles claimed rows.
    Write,
    /// The stage that changes rows in any state, including rows that the stage `Write` has just written.
    Upkeep,
    /// The stage that claims rows, including rows that the earlier stages have just written.
    Claim,
}

impl Stage {
    pub(crate) const IN_ORDER: [Self; 3] = [Self::Write, Self::Upkeep, Self::Claim];
}

/// The identifier of the request or report that an operation changes. A batch has at most one operation for each key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Request(RequestId),
    Report(ReportId),
}

impl Key {
    /// Returns the name of the kind of this key, which is the value of the label `kind` in the metrics.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Request(_) => "request",
            Self::Report(_) => "report",
        }
    }
}

/// The name of a queue in which operations wait for the writer. The queues take turns, so many operations in one queue
/// do not delay the other queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Line<'a> {
    /// The operation waits in no queue of a route or an origin.
    None,
    Route(&'a str),
    Origin(&'a str),
}

/// The change that an operation has made in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Written,
    /// The claim was not current any more, so nothing was written.
    Stale,
    /// The operation wrote nothing, or no task waits for the rows that it wrote.
    Silent,
}

impl From<Settled> for Effect {
    fn from(settled: Settled) -> Self {
        match settled {
            Settled::Current => Self::Written,
            Settled::Stale => Self::Stale,
        }
    }
}

/// The claims of rows that no caller, worker or delivery received. The store makes these rows wait again.
#[derive(Debug, Default)]
pub(crate) struct Untaken {
    pub requests: Vec<RequestClaim>,
    pub reports: Vec<ReportClaim>,
}

/// A report that an operation writes.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub report: Arc<NewReport>,
    /// Permits of the delivery, which the store has taken for this report. The permits reserve memory in the delivery.
    /// If there are permits, the report is *pre-claimed*: it is written as claimed by this process, and is sent through
    /// memory to the delivery after the commit. `None`: the report is not pre-claimed.
    pub room: Option<OwnedSemaphorePermit>,
}

impl Outgoing {
    pub(crate) fn all(reports: Vec<NewReport>) -> Vec<Self> {
        reports.into_iter().map(|report| Self { report: Arc::new(report), room: None }).collect()
    }

    pub(crate) fn is_pre_claimed(&self) -> bool {
        self.room.is_some()
    }

    /// Returns the change of the feed after the report was written.
    pub(crate) fn change(&self) -> Change {
        let status = match (&self.report.refused, self.is_pre_claimed()) {
            (Some(_), _) => DeliveryStatus::Refused,
            (None, true) => DeliveryStatus::Delivering,
            (None, false) => DeliveryStatus::Pending,
        };
        Change::Delivery { id: self.report.id, subject: Some(self.report.subject.clone()), status }
    }

    /// Prepares the report. Gives the report its number for [`Store::attempted`](crate::Store::attempted). Takes
    /// permits for the report if the report can be pre-claimed.
    pub(crate) fn prepare(&mut self, local: &Local, now: Timestamp) {
        if self.report.refused.is_none() {
            local.wake.first_attempts.posted(self.report.id);
            self.room = local.handoff.room_for_report(report_units(&self.report), now);
        }
    }

    /// Sends the pre-claimed reports to the delivery, and wakes the task that claims reports that are not pre-claimed.
    pub(crate) fn announce(reports: Vec<Self>, local: &Local, untaken: &mut Untaken) {
        metrics::counter!(metric::REPORTS_POSTED).increment(reports.len() as u64);
        for Self { report, room } in reports {
            if report.refused.is_some() {
                continue;
            }
            match room {
                Some(room) => {
                    untaken.reports.extend(local.handoff.give_report(PreClaimed { row: report.claimed(1, 1), room }));
                }
                None => local.wake.reports.notify_one(),
            }
        }
    }
}
