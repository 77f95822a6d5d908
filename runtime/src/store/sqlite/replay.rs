//! Deliveries that are sent again: a copy of the row, with the bytes of the first.

use sqlx::Row as _;

use super::Batch;
use super::reports::report_id;
use super::statement::query;
use crate::id::ReportId;
use crate::store::operation::{Op, Reply};
use crate::store::replay::Replayed;
use crate::webhook::Target;

pub(super) async fn replay(batch: &mut Batch<'_>) -> Result<(), sqlx::Error> {
    for (at, op) in batch.ops.iter().enumerate() {
        let Op::Replay { delivery, copy } = op else { continue };
        let sql =
            "SELECT r.seq, r.state, b.url FROM report AS r LEFT JOIN report_body AS b ON b.seq = r.seq WHERE r.id = ?1";
        let row = query(sql).bind(&delivery.as_bytes()[..]).fetch_optional(&mut *batch.conn).await?;
        let replayed = match row {
            None => Replayed::Unknown,
            Some(row) if row.try_get::<i64, _>(1)? < 2 => Replayed::NotOver,
            Some(row) => match row.try_get::<Option<String>, _>(2)? {
                None => Replayed::NoBody,
                Some(url) => {
                    let first = row.try_get::<i64, _>(0)?;
                    if let Some(delivery) = repeating(batch, first).await? {
                        batch.reply(at, Reply::Replayed(Replayed::Waiting { delivery }));
                        continue;
                    }
                    batch.start.last_report += 1;
                    let seq = batch.start.last_report;
                    // The origin is not copied: what ended under the first version of the schema has none.
                    let sql = "INSERT INTO report (seq, id, subject, state, due, epoch, attempt, created, origin) \
                               SELECT ?1, ?2, subject, 0, ?3, 0, 0, ?4, ?5 FROM report WHERE seq = ?6";
                    let insert = query(sql).bind(seq).bind(&copy.as_bytes()[..]).bind(batch.now.due.micros());
                    let insert =
                        insert.bind(batch.now.wall.micros()).bind(Target::parse(&url).origin().to_owned()).bind(first);
                    insert.execute(&mut *batch.conn).await?;
                    let sql = "INSERT INTO report_body (seq, url, headers, secret, body, by_operator, webhook_id) \
                               SELECT ?1, url, headers, secret, body, by_operator, coalesce(webhook_id, ?2) \
                               FROM report_body WHERE seq = ?3";
                    let insert = query(sql).bind(seq).bind(&delivery.as_bytes()[..]).bind(first);
                    insert.execute(&mut *batch.conn).await?;
                    Replayed::As { delivery: *copy, url }
                }
            },
        };
        batch.reply(at, Reply::Replayed(replayed));
    }
    Ok(())
}

/// A delivery that is not over, under the `webhook-id` of this row.
async fn repeating(batch: &mut Batch<'_>, first: i64) -> Result<Option<ReportId>, sqlx::Error> {
    let sql = "SELECT o.id FROM report AS r JOIN report_body AS b ON b.seq = r.seq JOIN report AS o ON o.subject = r.subject \
               JOIN report_body AS ob ON ob.seq = o.seq WHERE r.seq = ?1 AND o.state < 2 \
               AND coalesce(ob.webhook_id, o.id) = coalesce(b.webhook_id, r.id) LIMIT 1";
    let row = query(sql).bind(first).fetch_optional(&mut *batch.conn).await?;
    row.map(|row| report_id(row.try_get(0)?)).transpose()
}
