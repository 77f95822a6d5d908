//! The limits of the memory backend: a count of rows and a count of bytes, each with its limit.

use std::sync::atomic::{AtomicUsize, Ordering};

/// What the memory backend may hold. The inbox shares these quotas, so that it can refuse a post at once.
pub(crate) struct Quotas {
    /// The quota of unfinished requests.
    pub requests: Quota,
    /// The quota of undelivered reports.
    pub reports: Quota,
}

/// Counts rows and bytes, each up to its limit.
pub(crate) struct Quota {
    rows: AtomicUsize,
    bytes: AtomicUsize,
    most: (usize, usize),
}

impl Quota {
    pub(crate) fn new(rows: usize, bytes: usize) -> Self {
        Self { rows: AtomicUsize::new(0), bytes: AtomicUsize::new(0), most: (rows, bytes) }
    }

    /// Adds rows and bytes. `false`: one of the limits would be exceeded, and nothing is added.
    pub(crate) fn try_reserve(&self, rows: usize, bytes: usize) -> bool {
        let add = |count: &AtomicUsize, more: usize, most: usize| {
            let sum = |now: usize| now.checked_add(more).filter(|sum| *sum <= most);
            count.fetch_update(Ordering::AcqRel, Ordering::Acquire, sum).is_ok()
        };
        if !add(&self.rows, rows, self.most.0) {
            return false;
        }
        let fits = add(&self.bytes, bytes, self.most.1);
        if !fits {
            self.rows.fetch_sub(rows, Ordering::AcqRel);
        }
        fits
    }

    pub(crate) fn release(&self, rows: usize, bytes: usize) {
        self.rows.fetch_sub(rows, Ordering::AcqRel);
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
    }
}
