//! Adds posted reports to the reports that the batch writes.

use super::Apply;
use crate::ops::{Post, Posted};
use crate::sqlite::{Batch, handed_in};

impl Apply for Post {
    fn apply(batch: &mut Batch<'_>) -> Result<(), rusqlite::Error> {
        for (at, op) in batch.of::<Self>() {
            if let Some(id) = op.hand_in()
                && !handed_in::take(batch.conn, &id)?
            {
                batch.answer::<Self>(at, Posted::Before);
                continue;
            }
            batch.outgoing.extend(op.reports.iter().map(|outgoing| (at, outgoing)));
            batch.answer::<Self>(at, Posted::Written);
        }
        Ok(())
    }
}
