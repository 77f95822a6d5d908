//! Deletes rows that ended long ago, and gives up held reports.

use super::Apply;
use crate::audit::LONGER_THAN_REQUESTS;
use crate::clock::Now;
use crate::ops::{Purge, Purged};
use crate::parked::NOT_ENABLED;
use crate::sizes;
use crate::sqlite::Batch;
use crate::sqlite::codec::{first_of, json};
use crate::sqlite::keys;
use crate::sqlite::statement::{Row, query, query_scalar};
use crate::sqlite::states::sql;
use postback_wire::time::Timestamp;
use rusqlite::Connection;

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
         WHERE r.state >= {first end} AND r.route = ?2 AND r.finished < ?1"
    ),
    ") RETURNING seq, id, idempotency"
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
const OF_REQUEST: [&str; 6] = [
    "DELETE FROM request_body WHERE seq IN (SELECT value FROM json_each(?1))",
    "DELETE FROM registration WHERE seq IN (SELECT value FROM json_each(?1))",
    "DELETE FROM outcome WHERE seq IN (SELECT value FROM json_each(?1))",
    "DELETE FROM run_progress WHERE request IN (SELECT value FROM json_each(?1))",
    "DELETE FROM checkpoint WHERE request IN (SELECT value FROM json_each(?1))",
    "DELETE FROM run WHERE request IN (SELECT value FROM json_each(?1))",
];
/// The statements that delete the bodies and the attempts of deleted reports.
const OF_REPORT: [&str; 2] = [
    "DELETE FROM report_body WHERE seq IN (SELECT value FROM json_each(?1))",
    "DELETE FROM attempt WHERE report IN (SELECT value FROM json_each(?1))",
];

impl Apply for Purge {
    fn apply(batch: &mut Batch<'_>) -> Result<(), rusqlite::Error> {
        for (at, op) in batch.of::<Self>() {
            let Self { before, limit, trust, .. } = op;
            if let Some(trust) = trust {
                let sql = "INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)";
                query(sql).bind(TRUST).bind(trust.to_text()).execute(batch.conn)?;
            }
            let given_up = give_up_held(batch.conn, *before, *limit, batch.now)?;
            let before_audit = before.saturating_sub(LONGER_THAN_REQUESTS);
            let mut deleted = 0;
            let routes = routes_with_old(batch.conn, op)?;
            let bytes = PURGE_BYTES / i64::try_from(routes.len()).unwrap_or(i64::MAX).max(1);
            for route in &routes {
                let most = (*limit - deleted.min(*limit), bytes);
                deleted += delete_requests(batch.conn, op, route, most)?;
            }
            let most = (*limit - deleted.min(*limit), PURGE_BYTES);
            deleted += delete(batch.conn, ENDED_REPORTS, &OF_REPORT, before.micros(), "", most)?.len();
            let sql = sql!("SELECT EXISTS (SELECT 1 FROM report WHERE state >= {first end} AND finished < ?1)");
            let left: bool = query_scalar(sql).bind(before.micros()).fetch_one(batch.conn)?;
            let left = left || !routes_with_old(batch.conn, op)?.is_empty();
            let left = delete_figures(batch.conn, op)? || left;
            batch.answer::<Self>(at, Purged { deleted, given_up, more: left || given_up >= *limit });
            batch.after_commit.purged = true;
            let sql = "DELETE FROM audit WHERE seq IN (SELECT seq FROM audit WHERE at < ?1 ORDER BY at LIMIT ?2)";
            let limit = i64::try_from(*limit).unwrap_or(i64::MAX);
            query(sql).bind(before_audit.micros()).bind(limit).execute(batch.conn)?;
        }
        Ok(())
    }
}

/// Deletes figures that are too old. Returns whether there may be more of them.
fn delete_figures(conn: &Connection, op: &Purge) -> Result<bool, rusqlite::Error> {
    let mut more = false;
    for (step, before) in op.figures {
        let sql = "DELETE FROM series WHERE (kind, name, step, at) IN \
                   (SELECT kind, name, step, at FROM series WHERE step = ?1 AND at < ?2 ORDER BY at LIMIT ?3)";
        let limit = i64::try_from(op.limit).unwrap_or(i64::MAX);
        let delete = query(sql).bind(i64::from(step.minutes())).bind(before.micros()).bind(limit);
        more |= delete.execute(conn)? >= op.limit;
    }
    Ok(more)
}

/// Returns the routes that have ended requests that are old enough to be deleted.
fn routes_with_old(conn: &Connection, op: &Purge) -> Result<Vec<String>, rusqlite::Error> {
    // The statement uses an index to go from one route to the next, so its cost does not depend on the number of
    // requests.
    let sql = sql!(
        "WITH RECURSIVE ended (route) AS \
           (SELECT min(route) FROM request WHERE state >= {first end} \
            UNION ALL SELECT (SELECT min(route) FROM request WHERE state >= {first end} AND route > ended.route) \
            FROM ended WHERE ended.route IS NOT NULL) \
         SELECT route, (SELECT r.finished FROM request AS r WHERE r.state >= {first end} AND r.route = ended.route \
                        ORDER BY r.finished LIMIT 1) \
         FROM ended WHERE route IS NOT NULL"
    );
    let mut routes = Vec::new();
    for row in query(sql).fetch_all(conn)? {
        let (route, first): (String, Option<i64>) = (row.try_get(0)?, row.try_get(1)?);
        if first.is_some_and(|first| first < op.before(&route).micros()) {
            routes.push(route);
        }
    }
    Ok(routes)
}

/// Deletes ended requests of this route, up to the number of rows and of bytes in `most`. If the route keeps its requests for a shorter time than others,
/// also deletes the ended reports about them. Returns the number of deleted requests.
fn delete_requests(conn: &Connection, op: &Purge, route: &str, most: (usize, i64)) -> Result<usize, rusqlite::Error> {
    let before = op.before(route);
    let deleted = delete(conn, ENDED_REQUESTS, &OF_REQUEST, before.micros(), route, most)?;
    for row in &deleted {
        if let Some(key) = row.try_get::<Option<&[u8]>>(2)? {
            keys::delete(conn, key, row.try_get(0)?)?;
        }
    }
    if before > op.before && !deleted.is_empty() {
        let ids = deleted.iter().map(|row| row.try_get::<String>(1)).collect::<Result<Vec<_>, _>>()?;
        let sql = sql!(
            "DELETE FROM report WHERE subject IN (SELECT value FROM json_each(?1)) AND state >= {first end} \
             RETURNING seq"
        );
        let reports = query(sql).bind(json(&ids)?).fetch_all(conn)?;
        delete_parts(conn, &reports, &OF_REPORT)?;
    }
    Ok(deleted.len())
}

/// Ends up to `limit` held reports as gone, if the reports were due before this wall-clock time. Returns the number of
/// reports that were ended.
fn give_up_held(conn: &Connection, before: Timestamp, limit: usize, now: Now) -> Result<usize, rusqlite::Error> {
    let sql = sql!(
        "UPDATE report SET state = {gone}, held = NULL, finished = ?1, refused = ?2 WHERE seq IN \
         (SELECT seq FROM report WHERE state = {held} AND due < ?3 ORDER BY due, seq LIMIT ?4)"
    );
    let update = query(sql).bind(now.wall.micros()).bind(NOT_ENABLED).bind(now.due_at(before).micros());
    update.bind(i64::try_from(limit).unwrap_or(i64::MAX)).execute(conn)
}

/// Deletes rows with the statement `rows`, up to a number of rows and of bytes. The statements `parts` delete the data in other tables that
/// belongs to these rows. Returns what the statement `rows` returns of the deleted rows.
fn delete(
    conn: &Connection,
    rows: &'static str,
    parts: &'static [&'static str],
    before: i64,
    route: &str,
    (limit, bytes): (usize, i64),
) -> Result<Vec<Row>, rusqlite::Error> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    // `first_of!` expects its limits in `?3` and `?4`. The statement for reports does not use `?2`, the route.
    let delete = query(rows).bind(before).bind(route).bind(limit).bind(bytes);
    let deleted = delete.fetch_all(conn)?;
    delete_parts(conn, &deleted, parts)?;
    Ok(deleted)
}

fn delete_parts(conn: &Connection, deleted: &[Row], parts: &'static [&'static str]) -> Result<(), rusqlite::Error> {
    if deleted.is_empty() {
        return Ok(());
    }
    let seqs = deleted.iter().map(|row| row.try_get::<i64>(0)).collect::<Result<Vec<_>, _>>()?;
    let seqs = json(&seqs)?;
    for part in parts {
        query(part).bind(&seqs).execute(conn)?;
    }
    Ok(())
}
