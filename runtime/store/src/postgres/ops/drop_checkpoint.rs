//! Deletes the checkpoints of requests that have ended.

use super::Apply;
use crate::ops::DropCheckpoint;
use crate::postgres::Batch;
use crate::postgres::statement::query;
use crate::sql::states::sql;

impl Apply for DropCheckpoint {
    async fn apply(batch: &mut Batch<'_>) -> Result<(), sqlx::Error> {
        let mut ids = Vec::new();
        for (at, Self { id }) in batch.of::<Self>() {
            ids.push(id.as_str());
            batch.answer::<Self>(at, ());
        }
        if ids.is_empty() {
            return Ok(());
        }
        let sql = sql!(
            "DELETE FROM checkpoint WHERE request IN \
             (SELECT seq FROM request WHERE id = ANY($1) AND state >= {first end})"
        );
        query(sql).bind(ids).execute(&mut *batch.conn).await.map(drop)
    }
}
