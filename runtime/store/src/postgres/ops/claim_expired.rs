//! Claims requests whose first run should have begun by now.

use super::Apply;
use crate::ops::ClaimExpired;
use crate::postgres::Batch;
use crate::postgres::requests::claimed;
use crate::postgres::waiting;
use crate::record;
use postback_wire::time::Timestamp;

impl Apply for ClaimExpired {
    async fn apply(batch: &mut Batch<'_>) -> Result<(), sqlx::Error> {
        for (at, op) in batch.of::<Self>() {
            let rows = claimed(waiting::claim_expired(batch, op.limit).await?)?;
            let next_due = waiting::next_deadline(batch.conn).await?.map(Timestamp::from_micros);
            batch.answer::<Self>(at, record::Batch { rows, next_due });
        }
        Ok(())
    }
}
