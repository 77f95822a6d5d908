//! Sets aside what was handed in and cannot be taken.

use super::Apply;
use crate::ops::SetAside;
use crate::postgres::Batch;
use crate::postgres::codec::storable;
use crate::postgres::statement::query;

impl Apply for SetAside {
    async fn apply(batch: &mut Batch<'_>) -> Result<(), sqlx::Error> {
        for (at, Self { id, problem }) in batch.of::<Self>() {
            let sql = "UPDATE handed_in SET problem = $2 WHERE id = $1";
            query(sql).bind(id).bind(storable(problem)).execute(&mut *batch.conn).await?;
            batch.answer::<Self>(at, ());
        }
        Ok(())
    }
}
