//! Deletes rows that ended long ago, and gives up held reports.

use sqlx::Row as _;
use sqlx::postgres::PgConnection;

use super::Apply;
use crate::audit::LONGER_THAN_REQUESTS;
use crate::clock::Now;
use crate::ops::{Purge, Purged};
use crate::parked::NOT_ENABLED;
use crate::postgres::Batch;
use crate::postgres::codec::limit;
use crate::postgres::members;
use crate::postgres::statement::{query, query_scalar};
use crate::sizes;
use crate::sql::states::sql;
use postback_wire::time::Timestamp;

/// The key of the row in the table `meta` that stores how far the store trusts the wall clock.
pub(in crate::postgres) const TRUST: &str = "postback trust in the wall clock";

#[expect(clippy::cast_possible_wrap, reason = "it is a few MiB")]
const PURGE_BYTES: i64 = sizes::PURGE_BYTES as i64;

// These statements delete ended rows, and what other tables have of them. They compute sizes cheaply, because PostgreSQL
// knows the length of a value without reading the value.
const ENDED_REQUESTS: &str = sql!(
    "WITH d AS (DELETE FROM request WHERE seq IN (SELECT seq FROM ( \
         SELECT seq, size, sum(size) OVER (ORDER BY finished, seq ROWS UNBOUNDED PRECEDING) AS total FROM ( \
             SELECT r.finished, r.seq, coalesce(octet_length(b.headers) + octet_length(b.body), 0) \
                 + coalesce(octet_length(o.result), 0) + coalesce(octet_length(o.error), 0) AS size \
             FROM request AS r LEFT JOIN request_body AS b ON b.seq = r.seq LEFT JOIN outcome AS o ON o.seq = r.seq \
             WHERE r.state >= {first end} AND r.route = $2 AND r.finished < $1 ORDER BY r.finished, r.seq LIMIT $3) AS x \
         ) AS y WHERE total <= $4 OR total = size) RETURNING seq, id), \
     b AS (DELETE FROM request_body WHERE seq IN (SELECT seq FROM d)), \
     g AS (DELETE FROM registration WHERE seq IN (SELECT seq FROM d)), \
     o AS (DELETE FROM outcome WHERE seq IN (SELECT seq FROM d)), \
     p AS (DELETE FROM run_progress WHERE request IN (SELECT seq FROM d)), \
     c AS (DELETE FROM checkpoint WHERE request IN (SELECT seq FROM d)), \
     w AS (DELETE FROM run WHERE request IN (SELECT seq FROM d)) \
     SELECT id FROM d"
);
const ENDED_REPORTS: &str = sql!(
    "WITH d AS (DELETE FROM report WHERE seq IN (SELECT seq FROM ( \
         SELECT seq, size, sum(size) OVER (ORDER BY finished, seq ROWS UNBOUNDED PRECEDING) AS total FROM ( \
             SELECT r.finished, r.seq, coalesce(octet_length(b.headers) + octet_length(b.body), 0) \
                 + coalesce((SELECT sum(octet_length(response)) FROM attempt WHERE report = r.seq), 0) AS size \
             FROM report AS r LEFT JOIN report_body AS b ON b.seq = r.seq \
             WHERE r.state >= {first end} AND r.finished < $1 ORDER BY r.finished, r.seq LIMIT $2) AS x \
         ) AS y WHERE total <= $3 OR total = size) RETURNING seq), \
     b AS (DELETE FROM report_body WHERE seq IN (SELECT seq FROM d)), \
     w AS (DELETE FROM attempt WHERE report IN (SELECT seq FROM d)) \
     SELECT count(*) FROM d"
);
const REPORTS_OF: &str = sql!(
    "WITH d AS (DELETE FROM report WHERE subject = ANY($1) AND state >= {first end} RETURNING seq), \
     b AS (DELETE FROM report_body WHERE seq IN (SELECT seq FROM d)), \
     w AS (DELETE FROM attempt WHERE report IN (SELECT seq FROM d)) \
     SELECT count(*) FROM d"
);

impl Apply for Purge {
    async fn apply(batch: &mut Batch<'_>) -> Result<(), sqlx::Error> {
        for (at, op) in batch.of::<Self>() {
            let Self { before, limit: most, trust, .. } = op;
            if !is_my_turn(batch).await? {
                batch.answer::<Self>(at, Purged { deleted: 0, given_up: 0, more: false });
                continue;
            }
            if let Some(trust) = trust {
                let sql = "INSERT INTO meta (key, value) VALUES ($1, $2) \
                           ON CONFLICT (key) DO UPDATE SET value = excluded.value";
                query(sql).bind(TRUST).bind(trust.to_text()).execute(&mut *batch.conn).await?;
            }
            let given_up = give_up_held(batch.conn, *before, *most, batch.now).await?;
            let mut deleted = 0;
            let routes = routes_with_old(batch.conn, op).await?;
            let bytes = PURGE_BYTES / limit(routes.len()).max(1);
            for route in &routes {
                let left = (*most - deleted.min(*most), bytes);
                deleted += delete_requests(batch.conn, op, route, left).await?;
            }
            let reports = query_scalar::<i64>(ENDED_REPORTS).bind(before.micros());
            let reports = reports.bind(limit(*most - deleted.min(*most))).bind(PURGE_BYTES);
            deleted += usize::try_from(reports.fetch_one(&mut *batch.conn).await?).unwrap_or(0);
            let sql = sql!("SELECT EXISTS (SELECT 1 FROM report WHERE state >= {first end} AND finished < $1)");
            let left: bool = query_scalar(sql).bind(before.micros()).fetch_one(&mut *batch.conn).await?;
            let left = left || !routes_with_old(batch.conn, op).await?.is_empty();
            let left = delete_figures(batch.conn, op).await? || left;
            batch.answer::<Self>(at, Purged { deleted, given_up, more: left || given_up >= *most });
            let sql =
                "DELETE FROM audit WHERE seq = ANY(ARRAY(SELECT seq FROM audit WHERE at < $1 ORDER BY at LIMIT $2))";
            let before = before.saturating_sub(LONGER_THAN_REQUESTS);
            query(sql).bind(before.micros()).bind(limit(*most)).execute(&mut *batch.conn).await?;
        }
        Ok(())
    }
}

/// Deletes figures that are too old. Returns whether there may be more of them.
async fn delete_figures(conn: &mut PgConnection, op: &Purge) -> Result<bool, sqlx::Error> {
    let mut more = false;
    for (step, before) in op.figures {
        // Nobody changes rows of this age, so they stay where they were found.
        let sql = "DELETE FROM series WHERE ctid = \
                   ANY(ARRAY(SELECT ctid FROM series WHERE step = $1 AND at < $2 ORDER BY at LIMIT $3))";
        let delete = query(sql).bind(i64::from(step.minutes())).bind(before.micros()).bind(limit(op.limit));
        more |= delete.execute(&mut *conn).await?.rows_affected() >= op.limit as u64;
    }
    Ok(more)
}

/// Returns whether no other node deletes rows at the moment. Until the end of this transaction, no other node does.
async fn is_my_turn(batch: &mut Batch<'_>) -> Result<bool, sqlx::Error> {
    let key = members::purge_key(batch.others.schema());
    query_scalar("SELECT pg_try_advisory_xact_lock($1)").bind(key).fetch_one(&mut *batch.conn).await
}

/// Returns the routes that have ended requests that are old enough to be deleted.
async fn routes_with_old(conn: &mut PgConnection, op: &Purge) -> Result<Vec<String>, sqlx::Error> {
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
    for row in query(sql).fetch_all(conn).await? {
        let (route, first): (String, Option<i64>) = (row.try_get(0)?, row.try_get(1)?);
        if first.is_some_and(|first| first < op.before(&route).micros()) {
            routes.push(route);
        }
    }
    Ok(routes)
}

/// Deletes ended requests of this route, up to the number of rows and of bytes in `most`. If the route keeps its requests
/// for a shorter time than others, also deletes the ended reports about them. Returns the number of deleted requests.
async fn delete_requests(
    conn: &mut PgConnection,
    op: &Purge,
    route: &str,
    (rows, bytes): (usize, i64),
) -> Result<usize, sqlx::Error> {
    let before = op.before(route);
    let delete = query_scalar::<String>(ENDED_REQUESTS).bind(before.micros()).bind(route).bind(limit(rows)).bind(bytes);
    let deleted = delete.fetch_all(&mut *conn).await?;
    let number = deleted.len();
    if before > op.before && number > 0 {
        query(REPORTS_OF).bind(deleted).execute(conn).await?;
    }
    Ok(number)
}

/// Ends up to `most` held reports as gone, if the reports were due before this wall-clock time. Returns the number of
/// reports that were ended.
async fn give_up_held(conn: &mut PgConnection, before: Timestamp, most: usize, now: Now) -> Result<usize, sqlx::Error> {
    let sql = sql!(
        "UPDATE report SET state = {gone}, held = NULL, finished = $1, refused = $2 WHERE seq IN \
         (SELECT seq FROM report WHERE state = {held} AND due < $3 ORDER BY due, seq LIMIT $4)"
    );
    let update = query(sql).bind(now.wall.micros()).bind(NOT_ENABLED).bind(now.due_at(before).micros());
    let given_up = update.bind(limit(most)).execute(conn).await?.rows_affected();
    Ok(usize::try_from(given_up).unwrap_or(usize::MAX))
}
