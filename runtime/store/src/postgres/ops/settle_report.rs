//! Records attempts, and changes the states of their reports.

use std::collections::HashSet;

use sqlx::Row as _;
use uuid::Uuid;

use super::Apply;
use crate::ops::{SettleReport, SettledReport};
use crate::postgres::Batch;
use crate::postgres::codec::{report_id, storable, uuid};
use crate::postgres::statement::query;
use crate::record::Next;
use crate::sql::states::{ReportState, sql};
use postback_wire::id::ReportId;

/// The values of the operations, one list for each column.
#[derive(Default)]
struct Columns<'a> {
    ids: Vec<Uuid>,
    epochs: Vec<i64>,
    started: Vec<i64>,
    took: Vec<i64>,
    statuses: Vec<Option<i16>>,
    errors: Vec<Option<String>>,
    responses: Vec<&'a [u8]>,
    states: Vec<i64>,
    due: Vec<Option<i64>>,
    finished: Vec<Option<i64>>,
}

impl Apply for SettleReport {
    async fn apply(batch: &mut Batch<'_>) -> Result<(), sqlx::Error> {
        let now = batch.now.wall.micros();
        let (mut settles, mut columns) = (Vec::new(), Columns::default());
        for (at, op) in batch.of::<Self>() {
            let Self { claim, attempt, next } = op;
            let (due, finished) = match next {
                Next::RetryAt(due) => (Some(due.micros()), None),
                Next::Delivered | Next::DeliveredLast | Next::Dead | Next::Refused | Next::Gone { .. } => {
                    (None, Some(now))
                }
            };
            columns.ids.push(uuid(claim.id));
            columns.epochs.push(i64::from(claim.epoch));
            columns.started.push(attempt.started.micros());
            columns.took.push(i64::try_from(attempt.took.as_micros()).unwrap_or(i64::MAX));
            columns.statuses.push(attempt.status.and_then(|status| i16::try_from(status).ok()));
            columns.errors.push(attempt.error.as_deref().map(|error| storable(error).into_owned()));
            columns.responses.push(&attempt.response);
            columns.states.push(ReportState::after(*next).code());
            columns.due.push(due);
            columns.finished.push(finished);
            settles.push((at, op));
        }
        if settles.is_empty() {
            return Ok(());
        }
        let current = write(batch, columns).await?;
        for (at, op) in &settles {
            let is_current = current.contains(&op.claim.id);
            let settled = if is_current { SettledReport::Current } else { SettledReport::Stale };
            batch.answer::<Self>(*at, settled);
        }
        settles.retain(|(_, op)| op.next.disables() && current.contains(&op.claim.id));
        disable(batch, &settles).await
    }
}

/// Writes the attempts, and the new states of the reports. Returns the reports whose claims are current.
async fn write(batch: &mut Batch<'_>, columns: Columns<'_>) -> Result<HashSet<ReportId>, sqlx::Error> {
    let sql = sql!(
        "WITH i AS (SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::smallint[], \
             $6::text[], $7::bytea[], $8::bigint[], $9::bigint[], $10::bigint[]) \
             AS i (id, epoch, started, took, status, error, response, state, due, finished)), \
         r AS (UPDATE report AS r SET state = i.state, due = coalesce(i.due, r.due), finished = i.finished, \
             node = NULL FROM i WHERE r.id = i.id AND r.epoch = i.epoch AND r.state + 0 = {delivering} \
             RETURNING r.seq, r.id, r.attempt, r.epoch), \
         w AS (INSERT INTO attempt (report, n, epoch, started, took, status, error, response) \
             SELECT r.seq, r.attempt, r.epoch, i.started, i.took, i.status, i.error, i.response \
             FROM r JOIN i ON i.id = r.id) \
         SELECT id FROM r"
    );
    let Columns { ids, epochs, started, took, statuses, errors, responses, states, due, finished } = columns;
    let settle = query(sql).bind(ids).bind(epochs).bind(started).bind(took).bind(statuses).bind(errors);
    let rows = settle.bind(responses).bind(states).bind(due).bind(finished).fetch_all(&mut *batch.conn).await?;
    rows.iter().map(|row| report_id(row, 0)).collect()
}

/// Disables the URLs whose receivers want no more reports there.
async fn disable(batch: &mut Batch<'_>, settles: &[(usize, &SettleReport)]) -> Result<(), sqlx::Error> {
    if settles.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = settles.iter().map(|(_, op)| uuid(op.claim.id)).collect();
    let reason = |op: &SettleReport| storable(op.attempt.error.as_deref().unwrap_or_default()).into_owned();
    let reasons: Vec<String> = settles.iter().map(|(_, op)| reason(op)).collect();
    let sql = "WITH i AS (SELECT i.n, i.reason, b.url FROM unnest($1::uuid[], $2::text[]) WITH ORDINALITY \
                   AS i (id, reason, n) JOIN report AS r ON r.id = i.id JOIN report_body AS b ON b.seq = r.seq), \
               w AS (INSERT INTO disabled (url, since, reason) SELECT url, $3, reason FROM i ORDER BY n \
                   ON CONFLICT (url) DO NOTHING) \
               SELECT n, url FROM i";
    let disable = query(sql).bind(ids).bind(reasons).bind(batch.now.wall.micros());
    for row in disable.fetch_all(&mut *batch.conn).await? {
        let place = usize::try_from(row.try_get::<i64, _>(0)?).unwrap_or(0);
        if let Some((at, _)) = place.checked_sub(1).and_then(|place| settles.get(place)) {
            batch.answer::<SettleReport>(*at, SettledReport::Disabled(row.try_get(1)?));
        }
    }
    Ok(())
}
