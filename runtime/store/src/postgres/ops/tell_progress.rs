//! Stores how far running requests have come.

use std::collections::HashMap;

use sqlx::Row as _;

use super::Apply;
use crate::ops::TellProgress;
use crate::postgres::Batch;
use crate::postgres::codec::{count, storable};
use crate::postgres::statement::query;
use crate::sql::states::sql;

impl Apply for TellProgress {
    async fn apply(batch: &mut Batch<'_>) -> Result<(), sqlx::Error> {
        let mut by_id = HashMap::new();
        let (mut ids, mut epochs, mut times) = (Vec::new(), Vec::new(), Vec::new());
        let (mut fractions, mut messages, mut details) = (Vec::new(), Vec::new(), Vec::new());
        for (at, Self { claim, told }) in batch.of::<Self>() {
            ids.push(claim.id.as_str());
            epochs.push(i64::from(claim.epoch));
            fractions.push(told.fraction);
            messages.push(told.message.as_deref().map(|message| storable(message).into_owned()));
            details.push(told.detail.as_ref().map(|detail| &detail.bytes()[..]));
            times.push(told.at.micros());
            by_id.insert(claim.id.as_str(), at);
            batch.answer::<Self>(at, None);
        }
        if by_id.is_empty() {
            return Ok(());
        }
        let sql = sql!(
            "WITH i AS (SELECT r.seq, r.id, r.epoch, i.fraction, i.message, i.detail, i.at \
                 FROM unnest($1::text[], $2::bigint[], $3::double precision[], $4::text[], $5::bytea[], $6::bigint[]) \
                 AS i (id, epoch, fraction, message, detail, at) \
                 JOIN request AS r ON r.id = i.id AND r.epoch = i.epoch AND r.state + 0 = {running}), \
             w AS (INSERT INTO run_progress AS p (request, epoch, sequence, fraction, message, detail, at) \
                 SELECT seq, epoch, 1, fraction, message, detail, at FROM i ON CONFLICT (request) DO UPDATE \
                 SET epoch = excluded.epoch, sequence = p.sequence + 1, fraction = excluded.fraction, \
                 message = excluded.message, detail = excluded.detail, at = excluded.at RETURNING request, sequence) \
             SELECT i.id, w.sequence FROM w JOIN i ON i.seq = w.request"
        );
        let tell = query(sql).bind(ids).bind(epochs).bind(fractions).bind(messages).bind(details).bind(times);
        for row in tell.fetch_all(&mut *batch.conn).await? {
            if let Some(at) = by_id.get(row.try_get::<&str, _>(0)?) {
                batch.answer::<Self>(*at, Some(count(&row, 1)?));
            }
        }
        Ok(())
    }
}
