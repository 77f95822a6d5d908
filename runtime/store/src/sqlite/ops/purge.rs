//! Deletes rows that ended long ago, and gives up held reports.

use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

use super::Apply;
use crate::audit::LONGER_THAN_REQUESTS;
use crate::clock::Now;
use crate::ops::{Purge, Purged};
use crate::parked::NOT_ENABLED;
use crate::sizes;
use crate::sqlite::Batch;
use crate::sqlite::codec::{first_of, json};
use crate::sqlite::statement::{query, query_scalar};
use crate::sqlite::states::sql;
use postback_wire::time::Timestamp;

/// The key of the row in the table `meta` that stores how far the store trusts the wall clock.
pub(in crate::sqlite) const TRUST: &str = "postback trust in the wall clock";

#[expect(clippy::cast_possible_wrap, reason = "it is a few MiB")]
const PURGE_BYTES: i64 = sizes::PURGE_BYTES as i64;

// The statement that deletes ended requests. The statement computes sizes cheaply, because SQLite knows the length of a
// text or a blob without reading the text or the blob.
const ENDED_REQUESTS: &str = sql!(
    "DELETE FROM request WHERE seq IN (",
    first_of!(
        "SELECT r.finished AS due, r.seq, coalesce(length(b.headers) + length(b.body), 0) \
         + coalesce(length(o.result), 0) + coalesce(length(o.error), 0) AS size \
         FROM request AS r LEFT JOIN request_body AS b ON b.seq = r.seq LEFT JOIN outcome AS o ON o.seq = r.seq \
         WHERE r.state >= {first end} AND r.finished < ?1"
    ),
    ") RETURNING seq"
);
const ENDED_REPORTS: &str = sql!(
    "DELETE FROM report WHERE seq IN (",
    first_of!(
        "SELECT r.finished AS due, r.seq, coalesce(length(b.headers) + length(b.body), 0) \
         + coalesce((SELECT sum(length(response)) FROM attempt WHERE report = r.seq), 0) AS size \
         FROM report AS r LEFT JOIN report_body AS b ON b.seq = r.seq WHERE r.state >= {first end} AND r.finished < ?1"
    ),
    ") RETURNING seq"
);

/// The statements that delete what other tables have of deleted requests.
const OF_REQUEST: [&str; 5] = [
    "DELETE FROM request_body WHERE seq IN (SELECT value FROM json_each(?1))",
    "DELETE FROM registration WHERE seq IN (SELECT value FROM json_each(?1))",
    "DELETE FROM outcome WHERE seq IN (SELECT value FROM json_each(?1))",
    "DELETE FROM run WHERE request IN (SELECT value FROM json_each(?1))",
    "DELETE FROM idempotency WHERE request IN (SELECT value FROM json_each(?1))",
];
/// The statements that delete the bodies and the attempts of deleted reports.
const OF_REPORT: [&str; 2] = [
    "DELETE FROM report_body WHERE seq IN (SELECT value FROM json_each(?1))",
    "DELETE FROM attempt WHERE report IN (SELECT value FROM json_each(?1))",
];

impl Apply for Purge {
    async fn apply(batch: &mut Batch<'_>) -> Result<(), sqlx::Error> {
        for (at, Self { before, limit, trust }) in batch.of::<Self>() {
            if let Some(trust) = trust {
                let sql = "INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)";
                query(sql).bind(TRUST).bind(trust.to_text()).execute(&mut *batch.conn).await?;
            }
            let given_up = give_up_held(batch.conn, *before, *limit, batch.now).await?;
            let before_audit = before.saturating_sub(LONGER_THAN_REQUESTS);
            let (before, mut deleted) = (before.micros(), 0);
            deleted += delete(batch.conn, ENDED_REQUESTS, &OF_REQUEST, before, *limit).await?;
            deleted += delete(batch.conn, ENDED_REPORTS, &OF_REPORT, before, *limit - deleted.min(*limit)).await?;
            let sql = sql!(
                "SELECT EXISTS (SELECT 1 FROM request WHERE state >= {first end} AND finished < ?1) \
                 OR EXISTS (SELECT 1 FROM report WHERE state >= {first end} AND finished < ?1)"
            );
            let left: bool = query_scalar(sql).bind(before).fetch_one(&mut *batch.conn).await?;
            batch.answer::<Self>(at, Purged { deleted, given_up, more: left || given_up >= *limit });
            batch.after_commit.purged = true;
            let sql = "DELETE FROM audit WHERE seq IN (SELECT seq FROM audit WHERE at < ?1 ORDER BY at LIMIT ?2)";
            let limit = i64::try_from(*limit).unwrap_or(i64::MAX);
            query(sql).bind(before_audit.micros()).bind(limit).execute(&mut *batch.conn).await?;
        }
        Ok(())
    }
}

/// Ends up to `limit` held reports as gone, if the reports were due before this wall-clock time. Returns the number of
/// reports that were ended.
async fn give_up_held(
    conn: &mut SqliteConnection,
    before: Timestamp,
    limit: usize,
    now: Now,
) -> Result<usize, sqlx::Error> {
    let sql = sql!(
        "UPDATE report SET state = {gone}, held = NULL, finished = ?1, refused = ?2 WHERE seq IN \
         (SELECT seq FROM report WHERE state = {held} AND due < ?3 ORDER BY due, seq LIMIT ?4)"
    );
    let update = query(sql).bind(now.wall.micros()).bind(NOT_ENABLED).bind(now.due_at(before).micros());
    let given_up = update.bind(i64::try_from(limit).unwrap_or(i64::MAX)).execute(conn).await?.rows_affected();
    Ok(usize::try_from(given_up).unwrap_or(usize::MAX))
}

/// Deletes up to `limit` rows with the statement `rows`. The statements `parts` delete the data in other tables that
/// belongs to these rows. Returns the number of deleted rows.
async fn delete(
    conn: &mut SqliteConnection,
    rows: &'static str,
    parts: &'static [&'static str],
    before: i64,
    limit: usize,
) -> Result<usize, sqlx::Error> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    // The statement uses `?1`, `?3` and `?4`, because `first_of!` expects its limits in `?3` and `?4`. Values are bound
    // in order, so the unused variable `?2` gets the value 0.
    let delete = query(rows).bind(before).bind(0_i64).bind(limit).bind(PURGE_BYTES);
    let deleted = delete.fetch_all(&mut *conn).await?;
    if deleted.is_empty() {
        return Ok(0);
    }
    let seqs = deleted.iter().map(|row| row.try_get::<i64, _>(0)).collect::<Result<Vec<_>, _>>()?;
    let seqs = json(&seqs)?;
    for part in parts {
        query(part).bind(&seqs).execute(&mut *conn).await?;
    }
    Ok(deleted.len())
}
