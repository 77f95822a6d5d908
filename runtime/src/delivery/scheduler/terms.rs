//! What the scheduler is told, and what it tells.

use std::sync::Arc;

use crate::policy::breaker::{Change, Pass};
use crate::policy::turns::Key;

/// How much is held in memory.
#[derive(Clone, Copy, Debug)]
pub(in crate::delivery) struct Bounds {
    /// Units that wait.
    pub(in crate::delivery) backlog: usize,
    /// Origins with nothing to do whose pace and failures are remembered.
    pub(in crate::delivery) idle: usize,
    /// Origins with parked reports that are known. There may be more; they are looked up when these are done.
    pub(in crate::delivery) parked: usize,
}

/// A report in hand.
pub(in crate::delivery) trait InHand {
    /// What it takes up in memory; one unit at least.
    fn units(&self) -> usize;

    /// Where it goes, without the query: what has a circuit of its own.
    fn url(&self) -> &str;
}

/// A try that has begun, given back when it has ended.
#[derive(Clone, Copy, Debug)]
pub(in crate::delivery) struct Begun {
    pub(super) key: Key,
    pub(super) pass: Pass,
    /// Tells its URL from others of the origin.
    pub(super) url: u64,
}

/// Why a report is parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::delivery) enum ParkReason {
    /// The origin is being spared.
    Breaker,
    /// The origin has as many in memory as it may, or earlier ones parked.
    Share,
}

/// A claim of parked reports to be made. Its end is told to [`Scheduler::claimed`](super::Scheduler::claimed).
#[derive(Debug)]
pub(in crate::delivery) struct Claim {
    pub(in crate::delivery) key: Key,
    /// What they are parked under.
    pub(in crate::delivery) line: Arc<str>,
    pub(in crate::delivery) limit: usize,
}

/// What the end of a try has brought about.
pub(in crate::delivery) struct Consequence<W> {
    /// Of an origin, or a URL of it.
    pub(in crate::delivery) changes: Vec<(Arc<str>, Change)>,
    /// To be parked.
    pub(in crate::delivery) aside: Vec<(Key, W)>,
}
