//! Marks running requests as cancelled.

use super::Apply;
use crate::ops::CancelRunning;
use crate::record::RequestClaim;
use crate::sqlite::Batch;
use crate::sqlite::codec::small;
use crate::sqlite::statement::query;
use crate::sqlite::states::sql;

impl Apply for CancelRunning {
    fn apply(batch: &mut Batch<'_>) -> Result<(), rusqlite::Error> {
        for (at, Self { id }) in batch.of::<Self>() {
            let sql = sql!("UPDATE request SET cancel = 1 WHERE id = ?1 AND state = {running} RETURNING epoch");
            let row = query(sql).bind(id.as_str()).fetch_optional(batch.conn)?;
            let claim = match row {
                Some(row) => Some(RequestClaim { id: id.clone(), epoch: small(&row, 0)? }),
                None => None,
            };
            batch.answer::<Self>(at, claim);
        }
        Ok(())
    }
}
