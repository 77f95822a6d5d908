//! Puts running requests back into the queue.

use std::collections::HashMap;

use super::Apply;
use crate::ops::ReleaseRequest;
use crate::record::Settled;
use crate::sqlite::Batch;
use crate::sqlite::codec::json;
use crate::sqlite::statement::query;
use crate::sqlite::states::sql;

impl Apply for ReleaseRequest {
    fn apply(batch: &mut Batch<'_>) -> Result<(), rusqlite::Error> {
        let mut list = Vec::new();
        let mut by_id = HashMap::new();
        for (at, op) in batch.of::<Self>() {
            let Self { claim, due, begun, failed, detail } = op;
            let due = due.unwrap_or(batch.now.due).micros();
            let end = op.end().as_str();
            list.push((claim.id.as_str(), claim.epoch, due, i64::from(*failed), end, detail, i64::from(*begun)));
            batch.request_rows.over(&claim.id);
            by_id.insert(claim.id.as_str(), at);
            batch.answer::<Self>(at, Settled::Stale);
        }
        if list.is_empty() {
            return Ok(());
        }
        let list = json(&list)?;
        let sql = sql!(
            "INSERT OR IGNORE INTO run (request, epoch, started, ended, end, detail) \
             SELECT r.seq, r.epoch, coalesce(r.started, r.created), ?2, j.value ->> 4, j.value ->> 5 \
             FROM json_each(?1) AS j CROSS JOIN request AS r \
             WHERE r.id = j.value ->> 0 AND r.epoch = j.value ->> 1 AND r.state = {running} AND j.value ->> 6"
        );
        query(sql).bind(&list).bind(batch.now.wall.micros()).execute(batch.conn)?;
        // The deadline of a request is met as soon as its first run has begun. A cancelled request is due now. A cancelled request is not run again, so it need not wait until its next run
        // is due.
        let sql = sql!(
            "UPDATE request SET state = {queued}, node = NULL, started = NULL, \
             deadline = iif(j.begun, NULL, deadline), failures = failures + j.failed, \
             due = iif(cancel, min(j.due, ?2), j.due), later = (cancel = 0 AND j.due > ?2) \
             FROM (SELECT value ->> 0 AS id, value ->> 1 AS epoch, value ->> 2 AS due, value ->> 3 AS failed, \
                          value ->> 6 AS begun \
                   FROM json_each(?1)) AS j \
             WHERE request.id = j.id AND request.epoch = j.epoch AND request.state = {running} RETURNING id"
        );
        let release = query(sql).bind(&list).bind(batch.now.due.micros());
        for row in release.fetch_all(batch.conn)? {
            if let Some(at) = by_id.get(row.try_get::<&str>(0)?) {
                batch.answer::<Self>(*at, Settled::Current);
            }
        }
        Ok(())
    }
}
