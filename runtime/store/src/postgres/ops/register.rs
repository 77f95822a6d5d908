//! Stores with running requests where their outcomes are to be reported.

use std::collections::HashMap;

use sqlx::Row as _;

use super::Apply;
use crate::ops::Register;
use crate::postgres::Batch;
use crate::postgres::codec::registration_to_text;
use crate::postgres::statement::query;
use crate::record::{Claim, Settled};
use crate::sql::states::sql;

impl Apply for Register {
    async fn apply(batch: &mut Batch<'_>) -> Result<(), sqlx::Error> {
        let mut by_id = HashMap::new();
        let (mut ids, mut epochs, mut texts) = (Vec::new(), Vec::new(), Vec::new());
        for (at, Self { claim: Claim { id, epoch }, registration }) in batch.of::<Self>() {
            by_id.insert(id.as_str(), at);
            ids.push(id.as_str());
            epochs.push(i64::from(*epoch));
            texts.push(registration_to_text(registration)?);
            batch.answer::<Self>(at, Settled::Stale);
        }
        if ids.is_empty() {
            return Ok(());
        }
        let sql = sql!(
            "WITH i AS (SELECT r.seq, r.id, i.text \
                 FROM unnest($1::text[], $2::bigint[], $3::text[]) AS i (id, epoch, text) \
                 JOIN request AS r ON r.id = i.id AND r.epoch = i.epoch AND r.state + 0 = {running}), \
             w AS (INSERT INTO registration (seq, text) SELECT seq, text FROM i \
                 ON CONFLICT (seq) DO UPDATE SET text = excluded.text) \
             SELECT id FROM i"
        );
        for row in query(sql).bind(ids).bind(epochs).bind(texts).fetch_all(&mut *batch.conn).await? {
            if let Some(at) = by_id.get(row.try_get::<&str, _>(0)?) {
                batch.answer::<Self>(*at, Settled::Current);
            }
        }
        Ok(())
    }
}
