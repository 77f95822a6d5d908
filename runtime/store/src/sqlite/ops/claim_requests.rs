//! Claims due requests. The routes share the free slots, and suspects are claimed one by one. A *suspect* is a request
//! that was running when an earlier process ended.

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::Apply;
use crate::ops::ClaimRequests;
use crate::record;
use crate::share::{Line, shares};
use crate::sqlite::Batch;
use crate::sqlite::codec::{CLAIM_BYTES, first_of, json};
use crate::sqlite::requests::claimed;
use crate::sqlite::statement::query;
use crate::sqlite::states::sql;
use postback_wire::time::Timestamp;

impl Apply for ClaimRequests {
    async fn apply(batch: &mut Batch<'_>) -> Result<(), sqlx::Error> {
        for (at, op) in batch.of::<Self>() {
            let rows = claim(batch, op).await?;
            let has_suspect = rows.iter().any(|row| row.try_get::<i64, _>(CRASHES).is_ok_and(|crashes| crashes > 0));
            let rows = claimed(batch.conn, rows).await?;
            let heads = heads(batch, op).await?;
            let suspects = op.suspects && !has_suspect;
            let next = heads.iter().flat_map(|head| [head.fresh, head.suspect.filter(|_| suspects)]).flatten().min();
            batch.answer::<Self>(at, record::Batch { rows, next_due: next.map(Timestamp::from_micros) });
        }
        Ok(())
    }
}

/// The due times of two requests of a route: of the first waiting request without a crash (`fresh`), and of the first
/// waiting request with a crash (`suspect`).
struct Head {
    fresh: Option<i64>,
    suspect: Option<i64>,
}

/// Returns a [`Head`] with the due times of the first waiting requests for each route, in the order of the routes.
async fn heads(batch: &mut Batch<'_>, op: &ClaimRequests) -> Result<Vec<Head>, sqlx::Error> {
    let sql = sql!(
        "SELECT (SELECT due FROM request AS r WHERE state = {queued} AND crashes = 0 AND r.route = j.value \
                 ORDER BY due, seq LIMIT 1), \
                (SELECT due FROM request AS r WHERE state = {queued} AND crashes > 0 AND r.route = j.value \
                 ORDER BY due, seq LIMIT 1) \
         FROM json_each(?1) AS j"
    );
    let rows = query(sql).bind(json(&*op.routes)?).fetch_all(&mut *batch.conn).await?;
    rows.iter().map(|row| Ok(Head { fresh: row.try_get(0)?, suspect: row.try_get(1)? })).collect()
}

/// The index of the column `crashes` in a claimed row. `SIZE` is the index of the column with the size of the row.
const CRASHES: usize = 6;
const SIZE: usize = 13;

/// Claims rows, and returns the rows without their bodies. First claims at most one suspect, and then the share of each
/// route.
async fn claim(batch: &mut Batch<'_>, op: &ClaimRequests) -> Result<Vec<SqliteRow>, sqlx::Error> {
    let heads = heads(batch, op).await?;
    let mut rows = claim_suspect(batch, op, &heads).await?;
    let (mut left, mut bytes) = (op.limit - rows.len(), size(&rows)?);
    let now = batch.now.due.micros();
    let line = |(at, head): (usize, &Head)| Line {
        running: op.running.get(at).copied().unwrap_or(0),
        due: head.fresh.filter(|due| *due <= now).map(Timestamp::from_micros),
    };
    let mut lines: Vec<Line> = heads.iter().enumerate().map(line).collect();
    while left > 0 {
        let shares = shares(&lines, left);
        if shares.is_empty() {
            break;
        }
        for (at, share) in shares {
            let (Some(line), Some(route)) = (lines.get_mut(at), op.routes.get(at)) else { continue };
            let some = claim_of(batch, route, share, bytes).await?;
            if some.len() < share {
                // The route gets no more slots: it has no more due rows, or its rows are too large for this claim.
                // Other routes may use the remaining slots.
                line.due = None;
            }
            line.running += some.len();
            left -= some.len().min(left);
            bytes += size(&some)?;
            rows.extend(some);
        }
    }
    Ok(rows)
}

/// Claims the suspect that has been due longest, if the claim may include a suspect. A suspect is a request that was
/// running when an earlier process ended.
async fn claim_suspect(
    batch: &mut Batch<'_>,
    op: &ClaimRequests,
    heads: &[Head],
) -> Result<Vec<SqliteRow>, sqlx::Error> {
    let now = batch.now.due.micros();
    let suspects = heads.iter().zip(&*op.routes).filter_map(|(head, route)| Some((head.suspect?, route)));
    let suspect = suspects.filter(|(due, _)| *due <= now).min();
    let Some((_, route)) = suspect.filter(|_| op.suspects && op.limit > 0) else { return Ok(Vec::new()) };
    let sql = sql!(
        "UPDATE request SET state = {running}, epoch = epoch + 1, node = ?1, started = ?3 WHERE seq IN \
         (SELECT seq FROM request WHERE state = {queued} AND crashes > 0 AND route = ?2 ORDER BY due, seq LIMIT 1) \
         RETURNING due, seq, id, route, epoch, failures, crashes, created, cancel, owner, priority, timeout, extras, \
         (SELECT length(b.headers) + length(b.body) FROM request_body AS b WHERE b.seq = request.seq)"
    );
    let claim = query(sql).bind(batch.start.node).bind(route.as_str()).bind(batch.now.wall.micros());
    claim.fetch_all(&mut *batch.conn).await
}

/// Claims up to `limit` due rows of one route. `beside` is the number of bytes of the rows that this claim has already
/// claimed.
async fn claim_of(
    batch: &mut Batch<'_>,
    route: &str,
    limit: usize,
    beside: i64,
) -> Result<Vec<SqliteRow>, sqlx::Error> {
    let sql = sql!(
        "UPDATE request SET state = {running}, epoch = epoch + 1, node = ?1, started = ?7 WHERE seq IN (",
        first_of!(
            "SELECT r.due, r.seq, length(b.headers) + length(b.body) AS size \
             FROM request AS r CROSS JOIN request_body AS b WHERE b.seq = r.seq AND r.state = {queued} \
             AND r.crashes = 0 \
             AND r.route = ?5 AND r.due <= ?2",
            "?6"
        ),
        ") RETURNING due, seq, id, route, epoch, failures, crashes, created, cancel, owner, priority, timeout, extras, \
         (SELECT length(b.headers) + length(b.body) FROM request_body AS b WHERE b.seq = request.seq)"
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let claim = query(sql).bind(batch.start.node).bind(batch.now.due.micros()).bind(limit);
    let claim = claim.bind((CLAIM_BYTES - beside).max(0)).bind(route).bind(beside == 0).bind(batch.now.wall.micros());
    claim.fetch_all(&mut *batch.conn).await
}

/// Returns the number of bytes of all these rows together.
fn size(rows: &[SqliteRow]) -> Result<i64, sqlx::Error> {
    rows.iter().map(|row| row.try_get::<i64, _>(SIZE)).sum()
}
