//! A barrier writes nothing.

use super::Apply;
use crate::ops::Barrier;
use crate::sqlite::Batch;

impl Apply for Barrier {
    fn apply(batch: &mut Batch<'_>) -> Result<(), rusqlite::Error> {
        for (at, op) in batch.of::<Self>() {
            batch.answer::<Self>(at, op.posted);
        }
        Ok(())
    }
}
