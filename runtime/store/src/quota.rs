//! The limits of the memory backend: a limit on the number of rows, and a limit on their bytes.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The memory limits of the memory backend, and the memory in use. The inbox reserves memory from these quotas, so that
/// it can refuse a `Post` operation immediately.
pub(crate) struct Quotas {
    /// The memory limit of requests that have not ended.
    pub requests: Quota,
    /// The memory limit of reports whose delivery is not over.
    pub reports: Quota,
}

/// A number of rows and a number of bytes, each with a limit.
pub(crate) struct Quota {
    rows: AtomicUsize,
    bytes: AtomicUsize,
    most: (usize, usize),
}

impl Quota {
    pub(crate) fn new(rows: usize, bytes: usize) -> Self {
        Self { rows: AtomicUsize::new(0), bytes: AtomicUsize::new(0), most: (rows, bytes) }
    }

    /// Adds rows and bytes to the numbers in use. If a limit would be exceeded, adds nothing and returns `false`.
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
