//! The types of the scheduler's arguments and results.

use std::sync::Arc;

use crate::policy::breaker::{Change, Permit};
use crate::policy::turns::Key;

/// The limits of what the scheduler keeps in memory.
#[derive(Clone, Copy, Debug)]
pub(in crate::delivery) struct Bounds {
    /// The largest number of units of memory that waiting reports may use.
    pub(in crate::delivery) backlog: usize,
    /// The largest number of idle queues that the scheduler remembers. For each of them, it also remembers the average
    /// time of an attempt and the failures.
    pub(in crate::delivery) idle: usize,
    /// The largest number of queues for which the scheduler knows that the store has parked reports. The store may have
    /// parked reports of more queues. The scheduler searches for these queues when half of the known queues have no
    /// more parked reports.
    pub(in crate::delivery) parked: usize,
}

/// A report that the scheduler can queue.
pub(in crate::delivery) trait Schedulable {
    /// Returns the number of units of memory that the report uses, at least 1.
    fn units(&self) -> usize;

    /// Returns the URL of the report without its query. URLs that differ only in their query share one circuit.
    fn url(&self) -> &str;
}

/// An attempt that has started. When the attempt has ended, the caller passes this value to `Scheduler::ended`.
#[derive(Clone, Copy, Debug)]
pub(in crate::delivery) struct StartedAttempt {
    pub(super) key: Key,
    pub(super) permit: Permit,
    /// The hash of the attempt's URL.
    pub(super) url: u64,
    /// Whether the attempt never waited for a turn.
    pub(super) at_once: bool,
}

/// Why a report is parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::delivery) enum ParkReason {
    /// The circuit of the origin or of the URL is open.
    Breaker,
    /// The reports of the origin already use all memory that they are allowed to use, or earlier reports of the origin
    /// are parked.
    Share,
}

/// Why an attempt that must not wait may not start.
#[cfg(feature = "server")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::delivery) enum Withheld {
    /// The circuit of the origin or of the URL is open.
    Circuit,
    /// No slot is free, or the free slots are kept for reports that wait.
    Busy,
}

/// Asks the caller of the scheduler to claim parked reports from the store. The caller passes the result of the
/// claim to `Scheduler::claimed`.
#[derive(Debug)]
pub(in crate::delivery) struct Claim {
    pub(in crate::delivery) key: Key,
    /// The origin or the URL under which the reports are parked.
    pub(in crate::delivery) queue_name: Arc<str>,
    pub(in crate::delivery) limit: usize,
}

/// The work that the caller has to do after the end of an attempt.
pub(in crate::delivery) struct Effects<W> {
    /// The circuits that have changed. Each entry is the name of the origin or URL, and its change: the circuit has
    /// opened, has stayed open after a test, or has closed.
    pub(in crate::delivery) changes: Vec<(Arc<str>, Change)>,
    /// The reports that the caller has to park.
    pub(in crate::delivery) to_park: Vec<(Key, W)>,
}
