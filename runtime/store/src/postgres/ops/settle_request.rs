//! Writes outcomes of requests, and adds the reports about them to the reports that the batch writes.

use std::collections::HashMap;

use sqlx::Row as _;

use super::Apply;
use crate::ops::SettleRequest;
use crate::postgres::Batch;
use crate::postgres::codec::{reason_to_text, storable};
use crate::postgres::statement::query;
use crate::record::Settled;
use crate::sql::states::RequestState;

/// The values of the operations, one list for each column.
#[derive(Default)]
struct Columns<'a> {
    ids: Vec<&'a str>,
    epochs: Vec<i64>,
    states: Vec<i64>,
    finished: Vec<i64>,
    was: Vec<i64>,
    reasons: Vec<String>,
    results: Vec<Option<&'a [u8]>>,
    errors: Vec<Option<&'a [u8]>>,
    details: Vec<Option<String>>,
}

impl Apply for SettleRequest {
    async fn apply(batch: &mut Batch<'_>) -> Result<(), sqlx::Error> {
        let mut settles = HashMap::new();
        let mut columns = Columns::default();
        for (at, op) in batch.of::<Self>() {
            let (claim, outcome) = (&op.claim, &op.outcome);
            let from = if op.is_queued() { RequestState::Queued } else { RequestState::Running };
            columns.ids.push(claim.id.as_str());
            columns.epochs.push(i64::from(claim.epoch));
            columns.states.push(RequestState::ended(outcome.status).code());
            columns.finished.push(outcome.finished.micros());
            columns.was.push(from.code());
            columns.reasons.push(reason_to_text(outcome).into_owned());
            columns.results.push(outcome.result.as_ref().map(|json| &**json.bytes()));
            columns.errors.push(outcome.error.as_ref().map(|json| &**json.bytes()));
            columns.details.push(outcome.detail.as_deref().map(|detail| storable(detail).into_owned()));
            settles.insert(claim.id.as_str(), (at, op));
            batch.answer::<Self>(at, Settled::Stale);
        }
        if settles.is_empty() {
            return Ok(());
        }
        let sql = "WITH i AS (SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], \
                       $6::text[], $7::bytea[], $8::bytea[], $9::text[]) \
                       AS i (id, epoch, state, finished, was, reason, result, error, detail)), \
                   r AS (UPDATE request AS r SET state = i.state, finished = i.finished, node = NULL FROM i \
                       WHERE r.id = i.id AND r.epoch = i.epoch AND r.state = i.was RETURNING r.seq, r.id), \
                   w AS (INSERT INTO outcome (seq, epoch, reason, result, error, detail) \
                       SELECT r.seq, i.epoch, i.reason, i.result, i.error, i.detail FROM r JOIN i ON i.id = r.id) \
                   SELECT id FROM r";
        let Columns { ids, epochs, states, finished, was, reasons, results, errors, details } = columns;
        let settle = query(sql).bind(ids).bind(epochs).bind(states).bind(finished).bind(was).bind(reasons);
        for row in settle.bind(results).bind(errors).bind(details).fetch_all(&mut *batch.conn).await? {
            if let Some((at, op)) = settles.get(row.try_get::<&str, _>(0)?) {
                batch.outgoing.extend(op.reports.iter().map(|outgoing| (*at, outgoing)));
                batch.answer::<Self>(*at, Settled::Current);
            }
        }
        Ok(())
    }
}
