//! The types that the scheduler takes and returns.

use std::sync::Arc;

use crate::policy::breaker::{Change, Permit};
use crate::policy::turns::Key;

/// How much the scheduler keeps in memory.
#[derive(Clone, Copy, Debug)]
pub(in crate::delivery) struct Bounds {
    /// Units of the reports that wait.
    pub(in crate::delivery) backlog: usize,
    /// Idle queues whose average time and failures are remembered.
    pub(in crate::delivery) idle: usize,
    /// Queues with parked reports that are known at once. If there are more, the store is asked for them when half of
    /// these are done.
    pub(in crate::delivery) parked: usize,
}

/// A report that the scheduler can queue.
pub(in crate::delivery) trait Schedulable {
    /// The memory that the report takes up, in units. At least one unit.
    fn units(&self) -> usize;

    /// The URL that the report goes to, without its query. Circuits are kept for URLs without a query.
    fn url(&self) -> &str;
}

/// An attempt that has started. It is given back to the scheduler when the attempt has ended.
#[derive(Clone, Copy, Debug)]
pub(in crate::delivery) struct StartedAttempt {
    pub(super) key: Key,
    pub(super) permit: Permit,
    /// The hash of the attempt's URL.
    pub(super) url: u64,
}

/// Why a report is parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::delivery) enum ParkReason {
    /// The circuit of the origin or the URL is open.
    Breaker,
    /// The origin has as many reports in memory as it may, or earlier reports of it are parked.
    Share,
}

/// A claim of parked reports that the caller makes. The caller passes the claimed reports to `Scheduler::claimed`.
#[derive(Debug)]
pub(in crate::delivery) struct Claim {
    pub(in crate::delivery) key: Key,
    /// The name that the reports are parked under: an origin or a URL.
    pub(in crate::delivery) queue_name: Arc<str>,
    pub(in crate::delivery) limit: usize,
}

/// What the end of an attempt has changed.
pub(in crate::delivery) struct Effects<W> {
    /// Circuits that have changed, each with its origin or URL.
    pub(in crate::delivery) changes: Vec<(Arc<str>, Change)>,
    /// Reports that the caller has to park.
    pub(in crate::delivery) to_park: Vec<(Key, W)>,
}
