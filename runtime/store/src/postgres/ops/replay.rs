//! Sends deliveries again that are over: copies the row of the report and its body.

use sqlx::Row as _;

use super::Apply;
use crate::ops::{Replay, Replayed};
use crate::postgres::Batch;
use crate::postgres::codec::{report_id, report_state, storable, uuid};
use crate::postgres::statement::query;
use crate::sql::states::sql;
use postback_wire::id::ReportId;
use postback_wire::webhook::Target;

impl Apply for Replay {
    async fn apply(batch: &mut Batch<'_>) -> Result<(), sqlx::Error> {
        for (at, op) in batch.of::<Self>() {
            let replayed = replay(batch, op).await?;
            batch.answer::<Self>(at, replayed);
        }
        Ok(())
    }
}

async fn replay(batch: &mut Batch<'_>, op: &Replay) -> Result<Replayed, sqlx::Error> {
    let sql =
        "SELECT r.seq, r.state, b.url FROM report AS r LEFT JOIN report_body AS b ON b.seq = r.seq WHERE r.id = $1";
    let row = query(sql).bind(uuid(op.delivery)).fetch_optional(&mut *batch.conn).await?;
    let Some(row) = row else { return Ok(Replayed::Unknown) };
    if !report_state(&row, 1)?.is_over() {
        return Ok(Replayed::NotOver);
    }
    let Some(url) = row.try_get::<Option<String>, _>(2)? else { return Ok(Replayed::NoBody) };
    let first = row.try_get(0)?;
    if let Some(delivery) = repeating(batch, first).await? {
        return Ok(Replayed::Waiting { delivery });
    }
    copy(batch, op, first, &url).await?;
    Ok(Replayed::As { delivery: op.copy, url })
}

/// Copies the report in the row `first`, and the body of the report. The copy is due now, and has the origin of its URL:
/// a parked report may have ended under another name.
async fn copy(batch: &mut Batch<'_>, op: &Replay, first: i64, url: &str) -> Result<(), sqlx::Error> {
    let sql = sql!(
        "WITH r AS (INSERT INTO report (id, subject, state, due, epoch, attempt, created, origin) \
             SELECT $1, subject, {pending}, $2, 0, 0, $3, $4 FROM report WHERE seq = $5 RETURNING seq) \
         INSERT INTO report_body (seq, url, headers, secret, body, by_operator, webhook_id) \
         SELECT r.seq, b.url, b.headers, b.secret, b.body, b.by_operator, coalesce(b.webhook_id, $6) \
         FROM r, report_body AS b WHERE b.seq = $5"
    );
    let copy = query(sql).bind(uuid(op.copy)).bind(batch.now.due.micros()).bind(batch.now.wall.micros());
    let copy = copy.bind(storable(Target::parse(url).origin()).into_owned()).bind(first).bind(uuid(op.delivery));
    copy.execute(&mut *batch.conn).await.map(drop)
}

/// Returns the delivery that is not over and that has the same `webhook-id` as the report in the row `first`. `None`:
/// there is no such delivery.
async fn repeating(batch: &mut Batch<'_>, first: i64) -> Result<Option<ReportId>, sqlx::Error> {
    let sql = sql!(
        "SELECT o.id FROM report AS r JOIN report_body AS b ON b.seq = r.seq JOIN report AS o ON o.subject = r.subject \
         JOIN report_body AS ob ON ob.seq = o.seq WHERE r.seq = $1 AND o.state < {first end} \
         AND coalesce(ob.webhook_id, o.id) = coalesce(b.webhook_id, r.id) LIMIT 1"
    );
    let row = query(sql).bind(first).fetch_optional(&mut *batch.conn).await?;
    row.map(|row| report_id(&row, 0)).transpose()
}
