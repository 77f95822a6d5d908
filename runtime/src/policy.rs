//! Decides for the delivery: when a report is retried, what an answer means, which origin may start the next attempt,
//! where a webhook may go, and which secrets sign it.
//!
//! Invariant: this module only decides. It does no I/O, and the time and the randomness are arguments.

pub(crate) mod after_attempt;
pub(crate) mod breaker;
pub(crate) mod destination;
pub(crate) mod guard;
pub(crate) mod retry_after;
pub(crate) mod schedule;
pub(crate) mod turns;
