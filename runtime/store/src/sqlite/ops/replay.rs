//! Sends deliveries again that are over: copies the row of the report and its body.

use super::Apply;
use crate::ops::{Replay, Replayed};
use crate::sqlite::Batch;
use crate::sqlite::codec::{report_id, report_state};
use crate::sqlite::statement::query;
use crate::sqlite::states::sql;
use postback_wire::id::ReportId;
use postback_wire::webhook::Target;

impl Apply for Replay {
    fn apply(batch: &mut Batch<'_>) -> Result<(), rusqlite::Error> {
        for (at, op) in batch.of::<Self>() {
            let replayed = replay(batch, op)?;
            batch.answer::<Self>(at, replayed);
        }
        Ok(())
    }
}

fn replay(batch: &mut Batch<'_>, op: &Replay) -> Result<Replayed, rusqlite::Error> {
    let sql =
        "SELECT r.seq, r.state, b.url FROM report AS r LEFT JOIN report_body AS b ON b.seq = r.seq WHERE r.id = ?1";
    let row = query(sql).bind(&op.delivery.as_bytes()[..]).fetch_optional(batch.conn)?;
    let Some(row) = row else { return Ok(Replayed::Unknown) };
    if !report_state(&row, 1)?.is_over() {
        return Ok(Replayed::NotOver);
    }
    let Some(url) = row.try_get::<Option<String>>(2)? else { return Ok(Replayed::NoBody) };
    let first = row.try_get(0)?;
    if let Some(delivery) = repeating(batch, first)? {
        return Ok(Replayed::Waiting { delivery });
    }
    copy(batch, op, first, &url)?;
    Ok(Replayed::As { delivery: op.copy, url })
}

/// Copies the report in the row `first`, and the body of the report. The copy is due now.
fn copy(batch: &mut Batch<'_>, op: &Replay, first: i64, url: &str) -> Result<(), rusqlite::Error> {
    batch.start.last_report += 1;
    let seq = batch.start.last_report;
    // The statement does not copy the origin, but computes the origin from the URL, because a report that ended under
    // the first version of the schema has no origin.
    let sql = sql!(
        "INSERT INTO report (seq, id, subject, state, due, epoch, attempt, created, origin) \
         SELECT ?1, ?2, subject, {pending}, ?3, 0, 0, ?4, ?5 FROM report WHERE seq = ?6"
    );
    let insert = query(sql).bind(seq).bind(&op.copy.as_bytes()[..]).bind(batch.now.due.micros());
    let insert = insert.bind(batch.now.wall.micros()).bind(Target::parse(url).origin().to_owned()).bind(first);
    insert.execute(batch.conn)?;
    let sql = "INSERT INTO report_body (seq, url, headers, secret, body, by_operator, webhook_id) \
               SELECT ?1, url, headers, secret, body, by_operator, coalesce(webhook_id, ?2) \
               FROM report_body WHERE seq = ?3";
    let insert = query(sql).bind(seq).bind(&op.delivery.as_bytes()[..]).bind(first);
    insert.execute(batch.conn).map(drop)
}

/// Returns the delivery that is not over and that has the same `webhook-id` as the report in the row `first`. `None`:
/// there is no such delivery.
fn repeating(batch: &mut Batch<'_>, first: i64) -> Result<Option<ReportId>, rusqlite::Error> {
    let sql = sql!(
        "SELECT o.id FROM report AS r JOIN report_body AS b ON b.seq = r.seq JOIN report AS o ON o.subject = r.subject \
         JOIN report_body AS ob ON ob.seq = o.seq WHERE r.seq = ?1 AND o.state < {first end} \
         AND coalesce(ob.webhook_id, o.id) = coalesce(b.webhook_id, r.id) LIMIT 1"
    );
    let row = query(sql).bind(first).fetch_optional(batch.conn)?;
    row.map(|row| report_id(row.try_get(0)?)).transpose()
}
