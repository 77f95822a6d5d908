//! Counts how deliveries ended since the process started. A caller reads the counters after a flush.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::record::Next;
use postback_wire::names::metric;

/// Counts the deliveries that ended.
#[derive(Default)]
pub(crate) struct Counters {
    delivered: AtomicU64,
    given_up: AtomicU64,
}

/// The values of [`Counters`] at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    pub delivered: u64,
    /// Reports that are dead or refused, that the receiver does not want, or that could not be written.
    pub given_up: u64,
}

impl Counters {
    /// Counts a settled attempt, if it ended the delivery. Call this before waking the callers that wait for first
    /// attempts: they read the counters next.
    pub(crate) fn settled(&self, next: Next) {
        match next {
            Next::Delivered | Next::DeliveredLast => self.delivered.fetch_add(1, Ordering::Relaxed),
            Next::Dead | Next::Refused | Next::Gone { .. } => self.given_up.fetch_add(1, Ordering::Relaxed),
            Next::RetryAt(_) => return,
        };
    }

    /// A guard for reports that are not in the queue yet. Dropped without [`Lost::disarm`], because the caller went
    /// away, the guard counts these reports as lost.
    pub(crate) fn unless_taken_in(&self, reports: usize) -> Lost<'_> {
        Lost { counters: self, reports: reports as u64 }
    }

    /// Counts reports that were never written.
    pub(crate) fn unwritten(&self, reports: u64) {
        self.given_up.fetch_add(reports, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Counted {
        Counted { delivered: self.delivered.load(Ordering::Relaxed), given_up: self.given_up.load(Ordering::Relaxed) }
    }
}

/// Reports of a post on their way to the disk. If this value is dropped before the reports are written or given back to
/// the caller, they are counted as lost. So every lost report is counted, however the writer ends.
pub(crate) struct TakenIn {
    counters: Arc<Counters>,
    reports: u64,
}

impl TakenIn {
    pub(crate) fn new(counters: Arc<Counters>, reports: usize) -> Self {
        Self { counters, reports: reports as u64 }
    }

    /// How many reports are on their way to the disk.
    pub(crate) fn reports(&self) -> u64 {
        self.reports
    }

    /// Notes that the reports are written, so that the drop counts none of them as lost.
    pub(crate) fn written(&mut self) {
        self.reports = 0;
    }

    /// Notes that the caller gets an error for the reports and counts them itself, so that the drop does not.
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

/// The guard that [`Counters::unless_taken_in`] makes.
pub(crate) struct Lost<'a> {
    counters: &'a Counters,
    reports: u64,
}

impl Lost<'_> {
    /// Notes that the reports are in the queue, so that the drop counts none of them as lost.
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
