//! Marks running requests as cancelled.

use std::collections::HashMap;

use sqlx::Row as _;

use super::Apply;
use crate::ops::CancelRunning;
use crate::postgres::Batch;
use crate::postgres::codec::small;
use crate::postgres::statement::query;
use crate::record::RequestClaim;
use crate::sql::states::sql;

impl Apply for CancelRunning {
    async fn apply(batch: &mut Batch<'_>) -> Result<(), sqlx::Error> {
        let mut by_id = HashMap::new();
        for (at, Self { id }) in batch.of::<Self>() {
            by_id.insert(id.as_str(), (at, id));
            batch.answer::<Self>(at, None);
        }
        if by_id.is_empty() {
            return Ok(());
        }
        let ids: Vec<&str> = by_id.keys().copied().collect();
        let sql =
            sql!("UPDATE request SET cancel = true WHERE id = ANY($1) AND state + 0 = {running} RETURNING id, epoch");
        for row in query(sql).bind(ids).fetch_all(&mut *batch.conn).await? {
            if let Some((at, id)) = by_id.get(row.try_get::<&str, _>(0)?) {
                let claim = RequestClaim { id: (*id).clone(), epoch: small(&row, 1)? };
                batch.answer::<Self>(*at, Some(claim));
            }
        }
        Ok(())
    }
}
