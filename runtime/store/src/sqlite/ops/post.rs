//! Adds posted reports to the reports that the batch writes.

use super::Apply;
use crate::ops::Post;
use crate::sqlite::Batch;

impl Apply for Post {
    fn apply(batch: &mut Batch<'_>) -> Result<(), rusqlite::Error> {
        for (at, op) in batch.of::<Self>() {
            batch.outgoing.extend(op.reports.iter().map(|outgoing| (at, outgoing)));
            batch.answer::<Self>(at, ());
        }
        Ok(())
    }
}
