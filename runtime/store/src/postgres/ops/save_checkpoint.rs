//! Stores the checkpoints of running requests.

use std::collections::HashMap;

use sqlx::Row as _;

use super::Apply;
use crate::checkpoint::Saved;
use crate::ops::SaveCheckpoint;
use crate::postgres::Batch;
use crate::postgres::statement::query;
use crate::sql::states::sql;

impl Apply for SaveCheckpoint {
    async fn apply(batch: &mut Batch<'_>) -> Result<(), sqlx::Error> {
        let mut by_id = HashMap::new();
        let (mut ids, mut epochs, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for (at, Self { claim, value }) in batch.of::<Self>() {
            ids.push(claim.id.as_str());
            epochs.push(i64::from(claim.epoch));
            values.push(&value[..]);
            by_id.insert(claim.id.as_str(), at);
            batch.answer::<Self>(at, Saved::Stale);
        }
        if by_id.is_empty() {
            return Ok(());
        }
        let sql = sql!(
            "WITH i AS (SELECT r.seq, r.id, i.value FROM unnest($1::text[], $2::bigint[], $3::bytea[]) \
                 AS i (id, epoch, value) JOIN request AS r ON r.id = i.id AND r.epoch = i.epoch AND r.state + 0 = {running}), \
             w AS (INSERT INTO checkpoint (request, value, saved) SELECT seq, value, $4 FROM i \
                 ON CONFLICT (request) DO UPDATE SET value = excluded.value, saved = excluded.saved RETURNING request) \
             SELECT i.id FROM w JOIN i ON i.seq = w.request"
        );
        let save = query(sql).bind(ids).bind(epochs).bind(values).bind(batch.now.wall.micros());
        for row in save.fetch_all(&mut *batch.conn).await? {
            if let Some(at) = by_id.get(row.try_get::<&str, _>(0)?) {
                batch.answer::<Self>(*at, Saved::Yes);
            }
        }
        Ok(())
    }
}
