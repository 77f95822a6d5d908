//! Disables URLs and origins for operators.

use super::Apply;
use crate::ops::Disable;
use crate::sqlite::Batch;
use crate::sqlite::statement::query;

impl Apply for Disable {
    fn apply(batch: &mut Batch<'_>) -> Result<(), rusqlite::Error> {
        for (at, Self { name, reason }) in batch.of::<Self>() {
            // What the operator has disabled before only gets the new reason.
            let sql = "UPDATE disabled SET reason = ?2 WHERE url = ?1 AND by_operator = 1";
            let update = query(sql).bind(name).bind(reason);
            if update.execute(batch.conn)? > 0 {
                batch.answer::<Self>(at, false);
                continue;
            }
            // If the receiver has disabled the URL already, the row gets the operator's reason, and its held reports
            // stay held.
            let sql = "INSERT INTO disabled (url, since, reason, by_operator) VALUES (?1, ?2, ?3, 1) \
                       ON CONFLICT (url) DO UPDATE SET since = excluded.since, reason = excluded.reason, by_operator = 1 \
                       WHERE by_operator = 0";
            let insert = query(sql).bind(name).bind(batch.now.wall.micros()).bind(reason);
            let written = insert.execute(batch.conn)?;
            batch.answer::<Self>(at, written > 0);
        }
        Ok(())
    }
}
