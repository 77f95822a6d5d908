//! Decides what the delivery does: when to try again, what an answer means, whose turn it is, where a webhook may go,
//! who signs it.
//!
//! Invariant: nothing in here does anything. The time and the randomness are arguments.

pub(crate) mod after_attempt;
pub(crate) mod breaker;
pub(crate) mod destination;
pub(crate) mod guard;
pub(crate) mod retry_after;
pub(crate) mod schedule;
pub(crate) mod turns;
