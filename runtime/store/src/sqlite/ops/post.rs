//! Adds posted reports to the reports that the batch writes.

use super::Apply;
use crate::ops::{Post, Posted};
use crate::sqlite::{Batch, handed_in};

impl Apply for Post {
    fn apply(batch: &mut Batch<'_>) -> Result<(), rusqlite::Error> {
        for (at, op) in batch.of::<Self>() {
            if let Some((id, first)) = op.hand_in().zip(op.reports.first())
                && (!handed_in::take(batch.conn, &id)? || handed_in::is_known_report(batch.conn, first.report.id)?)
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
