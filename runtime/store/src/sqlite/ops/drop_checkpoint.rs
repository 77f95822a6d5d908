//! Deletes the checkpoints of requests that have ended.

use super::Apply;
use crate::ops::DropCheckpoint;
use crate::sqlite::Batch;
use crate::sqlite::statement::query;
use crate::sqlite::states::sql;

impl Apply for DropCheckpoint {
    fn apply(batch: &mut Batch<'_>) -> Result<(), rusqlite::Error> {
        for (at, Self { id }) in batch.of::<Self>() {
            let sql = sql!(
                "DELETE FROM checkpoint WHERE request = (SELECT seq FROM request WHERE id = ?1 AND state >= {first end})"
            );
            query(sql).bind(id.as_str()).execute(batch.conn)?;
            batch.answer::<Self>(at, ());
        }
        Ok(())
    }
}
