//! What every kind of operation says about itself. The writer and the backends know operations only by this trait, so a
//! new kind changes no other kind.
//!
//! An operation is data: the writer can apply it again after a failure, put it into another batch, and give it to any
//! backend.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use crate::handoff::PreClaimed;
use crate::local::Local;
use crate::quota::Quotas;
use crate::record::{NewReport, ReportClaim, RequestClaim, Settled};
use crate::sizes::report_units;
use postback_wire::id::{ReportId, RequestId};
use postback_wire::names::metric;
use postback_wire::time::Timestamp;

/// One kind of operation: its input is the struct that implements this trait.
///
/// The order in which the writer calls: [`prepare`](Self::prepare), then the backend applies and commits, then
/// [`committed`](Self::committed) for all operations of the batch, then every caller receives its answer, then
/// [`announce`](Self::announce) or [`stale`](Self::stale).
pub(crate) trait Operation {
    /// What the caller receives.
    type Answer;

    /// What the operation changes. A batch has at most one operation with this key: a second one waits for the next
    /// batch.
    fn key(&self) -> Option<Key> {
        None
    }

    /// The reports that the operation writes. Their ids are keys of the operation, too.
    fn reports(&self) -> &[Outgoing] {
        &[]
    }

    fn reports_mut(&mut self) -> &mut [Outgoing] {
        &mut []
    }

    /// For how many rows the operation counts in a queue and in a batch.
    fn rows(&self) -> usize {
        1
    }

    /// The memory that the operation takes without its reports, roughly.
    fn own_bytes(&self) -> usize {
        0
    }

    /// The line of the intake in which the operation waits.
    fn line(&self) -> Line<'_> {
        Line::None
    }

    /// How many reports a caller loses if the store never writes this operation.
    fn posted(&self) -> usize {
        0
    }

    /// Reserves the room that the rows take in the memory backend. `false`: there is too little, and the operation is
    /// refused.
    fn reserve(&mut self, _quotas: &Quotas) -> bool {
        true
    }

    /// Called as the operation is put into a batch, at `now` of the store's time.
    fn prepare(&mut self, _local: &Local, _now: Timestamp) {}

    /// Called after the commit, before any caller of the batch has its answer; stage by stage.
    fn committed(&self, _answer: &Self::Answer, _local: &Local) {}

    /// Whether the operation wrote what it was to write.
    fn effect(_answer: &Self::Answer) -> Effect {
        Effect::Written
    }

    /// Called when the effect is [`Effect::Written`], after all callers of the batch have their answers: hands over
    /// pre-claimed rows and wakes those who wait. Claims of rows that nobody took are added to `untaken`.
    fn announce(self, _local: &Local, _untaken: &mut Untaken)
    where
        Self: Sized,
    {
    }

    /// Called instead of [`announce`](Self::announce) when the effect is [`Effect::Stale`].
    fn stale(&self, _local: &Local) {}

    /// Adds the claims that are in an answer which no caller takes, so that the store can put the rows back.
    fn untaken(_answer: Self::Answer, _untaken: &mut Untaken) {}
}

/// The part of a transaction in which a backend applies an operation. The stages follow one another in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Writes new rows and settles claimed ones.
    Write,
    /// Works on any rows, also those that the stage before wrote.
    Upkeep,
    /// Claims rows, also those that the stages before wrote.
    Claim,
}

impl Stage {
    pub(crate) const IN_ORDER: [Self; 3] = [Self::Write, Self::Upkeep, Self::Claim];
}

/// What must not occur twice in a batch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Request(RequestId),
    Report(ReportId),
}

impl Key {
    /// The value of the metrics' label `kind`.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Request(_) => "request",
            Self::Report(_) => "report",
        }
    }
}

/// The name of a line in the intake. Lines take turns, so a flood in one line delays no other line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Line<'a> {
    /// The operation does not wait in the intake.
    None,
    Route(&'a str),
    Origin(&'a str),
}

/// Whether an operation wrote what it was to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Written,
    /// The claim was no longer current, so nothing was written.
    Stale,
    /// Nobody waits for what the operation wrote, or it wrote nothing.
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

/// Claims of rows that nobody took. The store puts these rows back.
#[derive(Debug, Default)]
pub(crate) struct Untaken {
    pub requests: Vec<RequestClaim>,
    pub reports: Vec<ReportClaim>,
}

/// A report to be written.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub report: Arc<NewReport>,
    /// The room that the report takes at the receiver of pre-claimed reports. `Some`: the report is *pre-claimed*,
    /// which means that it is written as claimed by this process and handed over in memory after the commit.
    pub room: Option<OwnedSemaphorePermit>,
}

impl Outgoing {
    pub(crate) fn all(reports: Vec<NewReport>) -> Vec<Self> {
        reports.into_iter().map(|report| Self { report: Arc::new(report), room: None }).collect()
    }

    pub(crate) fn is_pre_claimed(&self) -> bool {
        self.room.is_some()
    }

    /// Numbers the report for [`Store::tried`](crate::Store::tried), and reserves room for it if it can be pre-claimed.
    pub(crate) fn prepare(&mut self, local: &Local, now: Timestamp) {
        if self.report.refused.is_none() {
            local.wake.tried.posted(self.report.id);
            self.room = local.handoff.room_for_report(report_units(&self.report), now);
        }
    }

    /// Hands over the reports that are pre-claimed, and wakes those who claim the other ones.
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
