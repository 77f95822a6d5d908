//! Adds posted reports to the reports that the batch writes.

use super::Apply;
use crate::ops::{Post, Posted};
use crate::postgres::{Batch, handed_in};

impl Apply for Post {
    async fn apply(batch: &mut Batch<'_>) -> Result<(), sqlx::Error> {
        let taken =
            handed_in::take(batch.conn, batch.of::<Self>().filter_map(|(_, op)| op.hand_in()).collect()).await?;
        for (at, op) in batch.of::<Self>() {
            if op.hand_in().is_some_and(|id| !taken.contains(&id)) {
                batch.answer::<Self>(at, Posted::Before);
                continue;
            }
            batch.outgoing.extend(op.reports.iter().map(|outgoing| (at, outgoing)));
            batch.answer::<Self>(at, Posted::Written);
        }
        Ok(())
    }
}
