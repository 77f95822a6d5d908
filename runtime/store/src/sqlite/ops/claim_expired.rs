//! Claims requests whose first run should have begun by now.

use super::Apply;
use crate::ops::ClaimExpired;
use crate::record;
use crate::sqlite::Batch;
use crate::sqlite::requests::claimed;
use crate::sqlite::waiting;
use postback_wire::time::Timestamp;

impl Apply for ClaimExpired {
    fn apply(batch: &mut Batch<'_>) -> Result<(), rusqlite::Error> {
        for (at, op) in batch.of::<Self>() {
            let rows = waiting::claim_expired(batch, op.limit)?;
            let rows = claimed(batch.conn, rows)?;
            let next_due = waiting::next_deadline(batch.conn)?.map(Timestamp::from_micros);
            batch.answer::<Self>(at, record::Batch { rows, next_due });
        }
        Ok(())
    }
}
