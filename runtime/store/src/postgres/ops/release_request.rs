//! Puts running requests back into the queue.

use std::collections::HashMap;

use sqlx::Row as _;

use super::Apply;
use crate::ops::ReleaseRequest;
use crate::postgres::Batch;
use crate::postgres::codec::storable;
use crate::postgres::statement::query;
use crate::record::Settled;
use crate::sql::states::sql;

/// The values of the operations, one list for each column.
#[derive(Default)]
struct Columns<'a> {
    ids: Vec<&'a str>,
    epochs: Vec<i64>,
    due: Vec<i64>,
    failed: Vec<i64>,
    how: Vec<&'a str>,
    details: Vec<Option<String>>,
    begun: Vec<bool>,
}

impl Apply for ReleaseRequest {
    async fn apply(batch: &mut Batch<'_>) -> Result<(), sqlx::Error> {
        let mut columns = Columns::default();
        let mut by_id = HashMap::new();
        for (at, op) in batch.of::<Self>() {
            let Self { claim, due, begun, failed, detail } = op;
            columns.ids.push(claim.id.as_str());
            columns.epochs.push(i64::from(claim.epoch));
            columns.due.push(due.unwrap_or(batch.now.due).micros());
            columns.failed.push(i64::from(*failed));
            columns.how.push(op.end().as_str());
            columns.details.push(detail.as_deref().map(|detail| storable(detail).into_owned()));
            columns.begun.push(*begun);
            by_id.insert(claim.id.as_str(), at);
            batch.answer::<Self>(at, Settled::Stale);
        }
        if by_id.is_empty() {
            return Ok(());
        }
        // The deadline of a request is met as soon as its first run has begun. A cancelled request is due now: it is not
        // run again, so it need not wait until its next run is due.
        let sql = sql!(
            "WITH i AS (SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], \
                 $6::text[], $7::boolean[]) AS i (id, epoch, due, failed, how, detail, begun)), \
             w AS (INSERT INTO run (request, epoch, started, ended, how, detail) \
                 SELECT r.seq, r.epoch, coalesce(r.started, r.created), $8, i.how, i.detail \
                 FROM i JOIN request AS r ON r.id = i.id AND r.epoch = i.epoch AND r.state + 0 = {running} \
                 WHERE i.begun ON CONFLICT DO NOTHING) \
             UPDATE request AS r SET state = {queued}, node = NULL, started = NULL, \
             deadline = CASE WHEN i.begun THEN NULL ELSE r.deadline END, failures = r.failures + i.failed, \
             due = CASE WHEN r.cancel THEN least(i.due, $9) ELSE i.due END, later = NOT r.cancel AND i.due > $9 \
             FROM i WHERE r.id = i.id AND r.epoch = i.epoch AND r.state + 0 = {running} RETURNING r.id"
        );
        let Columns { ids, epochs, due, failed, how, details, begun } = columns;
        let release = query(sql).bind(ids).bind(epochs).bind(due).bind(failed).bind(how).bind(details).bind(begun);
        let release = release.bind(batch.now.wall.micros()).bind(batch.now.due.micros());
        for row in release.fetch_all(&mut *batch.conn).await? {
            if let Some(at) = by_id.get(row.try_get::<&str, _>(0)?) {
                batch.answer::<Self>(*at, Settled::Current);
            }
        }
        Ok(())
    }
}
