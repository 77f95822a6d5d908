//! Writes outcomes of requests, and adds the reports about them to the reports that the batch writes.

use std::collections::HashMap;
use std::sync::LazyLock;

use sqlx::Row as _;

use super::Apply;
use crate::ops::SettleRequest;
use crate::record::Settled;
use crate::sqlite::Batch;
use crate::sqlite::bulk::{Bind, Many};
use crate::sqlite::codec::{json, reason_to_text};
use crate::sqlite::statement::query;
use crate::sqlite::states::RequestState;
use postback_wire::report::{Json, Outcome};

static OUTCOMES: LazyLock<Many<1>> = LazyLock::new(|| {
    Many::new([(
        "INSERT INTO outcome (seq, epoch, reason, result, error, detail) \
         SELECT * FROM $rows WHERE column1 IS NOT NULL",
        6,
    )])
});

impl Apply for SettleRequest {
    async fn apply(batch: &mut Batch<'_>) -> Result<(), sqlx::Error> {
        let mut settles = HashMap::new();
        let mut list = Vec::new();
        for (at, op) in batch.of::<Self>() {
            let (claim, outcome) = (&op.claim, &op.outcome);
            let from = if op.is_queued() { RequestState::Queued } else { RequestState::Running };
            let (state, finished) = (RequestState::ended(outcome.status).code(), outcome.finished.micros());
            list.push((claim.id.as_str(), claim.epoch, state, finished, from.code()));
            settles.insert(claim.id.as_str(), (at, op));
            batch.answer::<Self>(at, Settled::Stale);
        }
        if list.is_empty() {
            return Ok(());
        }
        let sql = "UPDATE request SET state = j.state, finished = j.finished, node = NULL \
                   FROM (SELECT value ->> 0 AS id, value ->> 1 AS epoch, value ->> 2 AS state, value ->> 3 AS finished, \
                         value ->> 4 AS was FROM json_each(?1)) AS j \
                   WHERE request.id = j.id AND request.epoch = j.epoch AND request.state = j.was RETURNING seq, id";
        let rows = query(sql).bind(json(&list)?).fetch_all(&mut *batch.conn).await?;
        let mut outcomes = Vec::with_capacity(rows.len());
        for row in rows {
            let seq: i64 = row.try_get(0)?;
            if let Some((at, op)) = settles.get(row.try_get::<&str, _>(1)?) {
                outcomes.push((seq, op.claim.epoch, &op.outcome));
                batch.outgoing.extend(op.reports.iter().map(|outgoing| (*at, outgoing)));
                batch.answer::<Self>(*at, Settled::Current);
            }
        }
        let outcome: Bind<'_, (i64, u32, &Outcome)> = &|columns, (seq, epoch, outcome)| {
            let bytes = |json: &Option<Json>| json.as_ref().map(|json| json.bytes().to_vec());
            columns.add(*seq).add(i64::from(*epoch)).add(&*reason_to_text(outcome));
            columns.add(bytes(&outcome.result)).add(bytes(&outcome.error)).add(outcome.detail.as_deref());
        };
        OUTCOMES.run(batch.conn, &outcomes, [outcome]).await.map(drop)
    }
}
