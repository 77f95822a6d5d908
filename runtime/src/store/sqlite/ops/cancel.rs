//! Marks running requests as cancelled.

use super::Apply;
use crate::store::ops::CancelRunning;
use crate::store::record::RequestClaim;
use crate::store::sqlite::Batch;
use crate::store::sqlite::codec::small;
use crate::store::sqlite::statement::query;
use crate::store::sqlite::states::sql;

impl Apply for CancelRunning {
    async fn apply(batch: &mut Batch<'_>) -> Result<(), sqlx::Error> {
        for (at, Self { id }) in batch.of::<Self>() {
            let sql = sql!("UPDATE request SET cancel = 1 WHERE id = ?1 AND state = {running} RETURNING epoch");
            let row = query(sql).bind(id.as_str()).fetch_optional(&mut *batch.conn).await?;
            let claim = match row {
                Some(row) => Some(RequestClaim { id: id.clone(), epoch: small(&row, 0)? }),
                None => None,
            };
            batch.answer::<Self>(at, claim);
        }
        Ok(())
    }
}
