//! Counts how deliveries have ended since the process started. A caller reads the counters after it has waited for the
//! first attempts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::Store;
use crate::record::Next;
use postback_wire::names::metric;

/// The counts of the deliveries that ended since the process started.
#[derive(Default)]
pub(crate) struct Counters {
    delivered: AtomicU64,
    given_up: AtomicU64,
}

/// The values of [`Counters`] at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    pub delivered: u64,
    /// The number of reports that were given up. A report is given up if it is dead or refused, if its receiver does
    /// not want it, or if it could not be written.
    pub given_up: u64,
}

impl Counters {
    /// Counts the delivery, if this settled attempt ended the delivery. Call this before you wake the callers that wait
    /// for first attempts, because these callers read the counters.
    pub(crate) fn settled(&self, next: Next) {
        match next {
            Next::Delivered | Next::DeliveredLast => self.delivered.fetch_add(1, Ordering::Relaxed),
            Next::Dead | Next::Refused | Next::Gone { .. } => self.given_up.fetch_add(1, Ordering::Relaxed),
            Next::RetryAt(_) => return,
        };
    }

    /// Returns a guard for `reports` reports that are not in the queue yet. If the caller's future is dropped, the
    /// guard is dropped with it and counts the reports as lost, unless [`Lost::disarm`] was called.
    pub(crate) fn unless_taken_in(&self, reports: usize) -> Lost<'_> {
        Lost { counters: self, reports: reports as u64 }
    }

    /// Counts reports that were never written as given up.
    pub(crate) fn unwritten(&self, reports: u64) {
        self.given_up.fetch_add(reports, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Counted {
        Counted { delivered: self.delivered.load(Ordering::Relaxed), given_up: self.given_up.load(Ordering::Relaxed) }
    }
}

impl Store {
    /// Returns the number of reports that this process has delivered, and the number of reports that it has given up.
    pub fn counters(&self) -> Counted {
        self.0.shared.local.counters.read()
    }
}

/// A guard for queued reports that are not written yet. If the guard is dropped before the reports are written or given
/// back to the caller, the guard counts the reports as lost. So every lost report is counted, even if the writer
/// panics.
pub(crate) struct TakenIn {
    counters: Arc<Counters>,
    reports: u64,
}

impl TakenIn {
    pub(crate) fn new(counters: Arc<Counters>, reports: usize) -> Self {
        Self { counters, reports: reports as u64 }
    }

    /// Returns the number of queued reports that are not written yet.
    pub(crate) fn reports(&self) -> u64 {
        self.reports
    }

    /// Records that the queued reports are written, so that the drop of this value does not count the reports as lost.
    pub(crate) fn written(&mut self) {
        self.reports = 0;
    }

    /// Records that the caller gets an error and counts the reports itself, so that the drop of this value does not
    /// count the reports as lost too.
    pub(crate) fn given_back(&mut self) {
        self.reports = 0;
    }
}

impl Drop for TakenIn {
    fn drop(&mut self) {
        if self.reports > 0 {
            metrics::counter!(metric::REPORTS_LOST, "reason" => "store").increment(self.reports);
            self.counters.unwritten(self.reports);
        }
    }
}

/// A guard for reports that are not in the queue yet. If the guard is dropped before [`Lost::disarm`] is called, the
/// guard counts the reports as lost.
pub(crate) struct Lost<'a> {
    counters: &'a Counters,
    reports: u64,
}

impl Lost<'_> {
    /// Records that the reports are in the queue now, so that they are not counted as lost when this guard is dropped.
    pub(crate) fn disarm(mut self) {
        self.reports = 0;
    }
}

impl Drop for Lost<'_> {
    fn drop(&mut self) {
        if self.reports > 0 {
            metrics::counter!(metric::REPORTS_LOST, "reason" => "dropped").increment(self.reports);
            tracing::warn!(
                reports = self.reports,
                "reports are lost: the call was dropped while it waited for room in the store's queue"
            );
            self.counters.unwritten(self.reports);
        }
    }
}
