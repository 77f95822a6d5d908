//! Deliveries that are over, sent again.
//!
//! What is sent again is a delivery of its own, with attempts of its own, under the same `webhook-id` and with the same bytes:
//! a receiver that had it before can tell that it is the same. The record of the first one stays as it is.

use super::operation::{Op, Reply};
use super::{Error, Store};
use crate::id::ReportId;

/// What became of the wish to send a delivery again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Replayed {
    /// It is due now, as this delivery.
    As { delivery: ReportId, url: String },
    /// It is not over: it is sent anyway.
    NotOver,
    /// It is being sent again already, as this delivery.
    Waiting { delivery: ReportId },
    /// Its bytes are no more; a store in memory does not keep them.
    NoBody,
    /// There is none of this id.
    Unknown,
}

impl Store {
    /// Sends a delivery again that is over, however it ended. One repetition at a time: a second one is refused while the first
    /// is not over.
    pub(crate) async fn replay(&self, delivery: ReportId) -> Result<Replayed, Error> {
        match self.ask(Op::Replay { delivery, copy: ReportId::generate() }).await? {
            Reply::Replayed(replayed) => Ok(replayed),
            _ => Err(Error::Closed),
        }
    }
}
