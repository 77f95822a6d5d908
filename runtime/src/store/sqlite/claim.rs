//! Claims of requests: each route has its share of them, and those that may end their process are run one by one.

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::Batch;
use super::codec::{CLAIM_BYTES, first_of, json};
use super::requests::claimed;
use super::statement::query;
use crate::store::operation::{Op, Reply, RequestsWanted};
use crate::store::record;
use crate::store::share::{Line, shares};
use crate::time::Timestamp;

pub(super) async fn claim(batch: &mut Batch<'_>) -> Result<(), sqlx::Error> {
    for (at, op) in batch.ops.iter().enumerate() {
        let Op::ClaimRequests(wanted) = op else { continue };
        let rows = first(batch, wanted).await?;
        let has_suspect = rows.iter().any(|row| row.try_get::<i64, _>(CRASHES).is_ok_and(|crashes| crashes > 0));
        let rows = claimed(batch.conn, rows).await?;
        let heads = heads(batch, wanted).await?;
        let suspects = wanted.suspects && !has_suspect;
        let next = heads.iter().flat_map(|head| [head.fresh, head.suspect.filter(|_| suspects)]).flatten().min();
        let next_due = next.map(Timestamp::from_micros);
        batch.reply(at, Reply::Requests(record::Batch { rows, next_due }));
    }
    Ok(())
}

/// When the first of a route's requests is due.
struct Head {
    fresh: Option<i64>,
    /// One that was running when a process ended.
    suspect: Option<i64>,
}

/// In the order of the routes.
async fn heads(batch: &mut Batch<'_>, wanted: &RequestsWanted) -> Result<Vec<Head>, sqlx::Error> {
    // `state = 0` and the like stand there as literals: a partial index is used for nothing else.
    let sql = "SELECT (SELECT due FROM request AS r WHERE state = 0 AND crashes = 0 AND r.route = j.value \
                       ORDER BY due, seq LIMIT 1), \
                      (SELECT due FROM request AS r WHERE state = 0 AND crashes > 0 AND r.route = j.value \
                       ORDER BY due, seq LIMIT 1) \
               FROM json_each(?1) AS j";
    let rows = query(sql).bind(json(&*wanted.routes)?).fetch_all(&mut *batch.conn).await?;
    rows.iter().map(|row| Ok(Head { fresh: row.try_get(0)?, suspect: row.try_get(1)? })).collect()
}

/// Where the columns of a claimed row are that are needed here.
const CRASHES: usize = 6;
const SIZE: usize = 9;

/// Claims what is to be claimed, without the bodies.
async fn first(batch: &mut Batch<'_>, wanted: &RequestsWanted) -> Result<Vec<SqliteRow>, sqlx::Error> {
    let (now, mut left, mut bytes) = (batch.now.due.micros(), wanted.limit, 0);
    let heads = heads(batch, wanted).await?;
    let mut rows = Vec::new();
    let suspects = heads.iter().zip(&*wanted.routes).filter_map(|(head, route)| Some((head.suspect?, route)));
    let suspect = suspects.filter(|(due, _)| *due <= now).min();
    if let Some((_, route)) = suspect.filter(|_| wanted.suspects && left > 0) {
        let sql = "UPDATE request SET state = 1, epoch = epoch + 1, node = ?1 WHERE seq IN \
                   (SELECT seq FROM request WHERE state = 0 AND crashes > 0 AND route = ?2 ORDER BY due, seq LIMIT 1) \
                   RETURNING due, seq, id, route, epoch, failures, crashes, created, cancel, \
                   (SELECT length(b.headers) + length(b.body) FROM request_body AS b WHERE b.seq = request.seq)";
        let one = query(sql).bind(batch.start.node).bind(route.as_str()).fetch_all(&mut *batch.conn).await?;
        (left, bytes) = (left - one.len(), size(&one)?);
        rows.extend(one);
    }
    let mut lines: Vec<Line> = heads
        .iter()
        .enumerate()
        .map(|(place, head)| Line {
            running: wanted.running.get(place).copied().unwrap_or(0),
            due: head.fresh.filter(|due| *due <= now).map(Timestamp::from_micros),
        })
        .collect();
    while left > 0 {
        let shares = shares(&lines, left);
        if shares.is_empty() {
            break;
        }
        for (place, share) in shares {
            let (Some(line), Some(route)) = (lines.get_mut(place), wanted.routes.get(place)) else { continue };
            let some = claim_of(batch, route, share, bytes).await?;
            if some.len() < share {
                // There are no more, or they are too large for this claim: the others may have the rest.
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

/// Claims the first of one route, beside others that have so many bytes.
async fn claim_of(
    batch: &mut Batch<'_>,
    route: &str,
    limit: usize,
    beside: i64,
) -> Result<Vec<SqliteRow>, sqlx::Error> {
    let sql = concat!(
        "UPDATE request SET state = 1, epoch = epoch + 1, node = ?1 WHERE seq IN (",
        first_of!(
            "SELECT r.due, r.seq, length(b.headers) + length(b.body) AS size \
             FROM request AS r CROSS JOIN request_body AS b WHERE b.seq = r.seq AND r.state = 0 AND r.crashes = 0 \
             AND r.route = ?5 AND r.due <= ?2",
            "?6"
        ),
        ") RETURNING due, seq, id, route, epoch, failures, crashes, created, cancel, \
         (SELECT length(b.headers) + length(b.body) FROM request_body AS b WHERE b.seq = request.seq)"
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let claim = query(sql).bind(batch.start.node).bind(batch.now.due.micros()).bind(limit);
    let claim = claim.bind((CLAIM_BYTES - beside).max(0)).bind(route).bind(beside == 0);
    claim.fetch_all(&mut *batch.conn).await
}

fn size(rows: &[SqliteRow]) -> Result<i64, sqlx::Error> {
    rows.iter().map(|row| row.try_get::<i64, _>(SIZE)).sum()
}
