//! Disables URLs and origins for operators.

use super::Apply;
use crate::ops::Disable;
use crate::postgres::Batch;
use crate::postgres::codec::storable;
use crate::postgres::statement::query;

impl Apply for Disable {
    async fn apply(batch: &mut Batch<'_>) -> Result<(), sqlx::Error> {
        for (at, Self { name, reason }) in batch.of::<Self>() {
            let (name, reason) = (storable(name), storable(reason));
            // What the operator has disabled before only gets the new reason.
            let sql = "UPDATE disabled SET reason = $2 WHERE url = $1 AND by_operator";
            let update = query(sql).bind(&*name).bind(&*reason);
            if update.execute(&mut *batch.conn).await?.rows_affected() > 0 {
                batch.answer::<Self>(at, false);
                continue;
            }
            // If the receiver has disabled the URL already, the row gets the operator's reason, and its held reports
            // stay held.
            let sql = "INSERT INTO disabled AS d (url, since, reason, by_operator) VALUES ($1, $2, $3, true) \
                       ON CONFLICT (url) DO UPDATE SET since = excluded.since, reason = excluded.reason, by_operator = true \
                       WHERE NOT d.by_operator";
            let insert = query(sql).bind(&*name).bind(batch.now.wall.micros()).bind(&*reason);
            let written = insert.execute(&mut *batch.conn).await?.rows_affected();
            batch.answer::<Self>(at, written > 0);
        }
        Ok(())
    }
}
