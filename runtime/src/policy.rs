//! The decisions of the delivery: when a report is retried, what an answer means, which origin may start the next
//! attempt, where a webhook may go, and which secrets sign a report.
//!
//! Invariant: this module only decides. It does no I/O. The time and the random numbers are arguments.

pub(crate) mod after_attempt;
pub(crate) mod breaker;
#[cfg(feature = "cron")]
pub(crate) mod cron;
pub(crate) mod destination;
pub(crate) mod guard;
pub(crate) mod retry_after;
pub(crate) mod schedule;
pub(crate) mod turns;
