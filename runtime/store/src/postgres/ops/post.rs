//! Adds posted reports to the reports that the batch writes.

use super::Apply;
use crate::ops::Post;
use crate::postgres::Batch;

impl Apply for Post {
    async fn apply(batch: &mut Batch<'_>) -> Result<(), sqlx::Error> {
        for (at, op) in batch.of::<Self>() {
            batch.outgoing.extend(op.reports.iter().map(|outgoing| (at, outgoing)));
            batch.answer::<Self>(at, ());
        }
        Ok(())
    }
}
