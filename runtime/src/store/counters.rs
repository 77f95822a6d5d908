//! What became of reports since the process started: for the one who asks after a flush.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::record::Next;
use crate::names::metric;

/// Counts ends of deliveries.
#[derive(Default)]
pub(crate) struct Counters {
    delivered: AtomicU64,
    given_up: AtomicU64,
}

/// A [`Counters`] as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) delivered: u64,
    /// The schedule was over, the report may not go there or is not wanted, or it could not be written.
    pub(crate) given_up: u64,
}

impl Counters {
    /// To be counted before those are woken who wait for first tries, and look here next.
    pub(crate) fn settled(&self, next: Next) {
        match next {
            Next::Delivered | Next::DeliveredLast => self.delivered.fetch_add(1, Ordering::Relaxed),
            Next::Dead | Next::Refused | Next::Gone { .. } => self.given_up.fetch_add(1, Ordering::Relaxed),
            Next::RetryAt(_) => return,
        };
    }

    /// Counts so many reports as lost if it is dropped armed: whoever was to take them in has gone away.
    pub(crate) fn unless_taken_in(&self, reports: usize) -> Lost<'_> {
        Lost { counters: self, reports: reports as u64 }
    }

    pub(crate) fn unwritten(&self, reports: u64) {
        self.given_up.fetch_add(reports, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Counted {
        Counted { delivered: self.delivered.load(Ordering::Relaxed), given_up: self.given_up.load(Ordering::Relaxed) }
    }
}

/// Reports of a post on their way to the disk: dropped before they are written, or given back to who posted them, they are
/// counted as lost. So none is lost uncounted, however the writer ends.
pub(crate) struct TakenIn {
    counters: Arc<Counters>,
    reports: u64,
}

impl TakenIn {
    pub(crate) fn new(counters: Arc<Counters>, reports: usize) -> Self {
        Self { counters, reports: reports as u64 }
    }

    /// How many are on their way.
    pub(crate) fn reports(&self) -> u64 {
        self.reports
    }

    pub(crate) fn written(&mut self) {
        self.reports = 0;
    }

    /// Who posted them is told that they are not written.
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

/// See [`Counters::unless_taken_in`].
pub(crate) struct Lost<'a> {
    counters: &'a Counters,
    reports: u64,
}

impl Lost<'_> {
    pub(crate) fn disarm(mut self) {
        self.reports = 0;
    }
}

impl Drop for Lost<'_> {
    fn drop(&mut self) {
        if self.reports > 0 {
            metrics::counter!(metric::REPORTS_LOST, "reason" => "dropped").increment(self.reports);
            tracing::warn!(reports = self.reports, "reports are lost: the call was dropped while it waited for room");
            self.counters.unwritten(self.reports);
        }
    }
}
