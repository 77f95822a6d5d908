//! A barrier writes nothing.

use super::Apply;
use crate::ops::Barrier;
use crate::postgres::Batch;

impl Apply for Barrier {
    async fn apply(batch: &mut Batch<'_>) -> Result<(), sqlx::Error> {
        for (at, op) in batch.of::<Self>() {
            batch.answer::<Self>(at, op.posted);
        }
        Ok(())
    }
}
