//! The statements about requests that wait: which wait, and the claims of some of them.
//!
//! The index `request_due` has only requests that are due. Its rows are ordered by route, by owner, and then as they are
//! to be claimed. So each owner in the index has a request that can be claimed, and no statement here passes over rows.

use super::Batch;
use super::codec::{CLAIM_BYTES, json};
use super::statement::{Query, Row, query, query_scalar};
use super::states::sql;
use crate::record::Owner;
use crate::share::OWNERS;
use crate::sql::waiting::{Head, HeadRow};
use rusqlite::Connection;

/// How many requests of one route a claim marks as due. If more have become due, the next claim continues.
const WAKE: i64 = 256;
/// The indices of the columns `crashes` and `owner` in a claimed row, and of the column with the size of the row.
pub(super) const CRASHES: usize = 6;
pub(super) const OWNER: usize = 9;
const SIZE: usize = 14;

/// Returns a [`Head`] for each route, in the order of the routes.
///
/// The statement goes from one waiting route to the next in each index. So it costs what waits, however many routes
/// there are: a look at an empty queue reads three entries.
pub(super) fn heads(conn: &Connection, routes: &[String]) -> Result<Vec<Head>, rusqlite::Error> {
    let sql = sql!(
        "WITH RECURSIVE fresh (route) AS \
           (SELECT (SELECT min(route) FROM request WHERE state = {queued} AND crashes = 0 AND later = 0) \
            UNION ALL SELECT (SELECT min(route) FROM request \
                WHERE state = {queued} AND crashes = 0 AND later = 0 AND route > fresh.route) \
            FROM fresh WHERE fresh.route IS NOT NULL), \
         delayed (route) AS \
           (SELECT (SELECT min(route) FROM request WHERE state = {queued} AND crashes = 0 AND later = 1) \
            UNION ALL SELECT (SELECT min(route) FROM request \
                WHERE state = {queued} AND crashes = 0 AND later = 1 AND route > delayed.route) \
            FROM delayed WHERE delayed.route IS NOT NULL), \
         suspect (route) AS \
           (SELECT (SELECT min(route) FROM request WHERE state = {queued} AND crashes > 0) \
            UNION ALL SELECT (SELECT min(route) FROM request \
                WHERE state = {queued} AND crashes > 0 AND route > suspect.route) \
            FROM suspect WHERE suspect.route IS NOT NULL) \
         SELECT i.route, 0, (SELECT due FROM request AS r \
                 WHERE state = {queued} AND crashes = 0 AND later = 0 AND r.route = i.route \
                 ORDER BY owner, priority DESC, due, seq LIMIT 1), \
                (SELECT min(owner) FROM request AS r \
                 WHERE state = {queued} AND crashes = 0 AND later = 0 AND r.route = i.route), \
                (SELECT max(owner) FROM request AS r \
                 WHERE state = {queued} AND crashes = 0 AND later = 0 AND r.route = i.route) \
         FROM fresh AS i WHERE i.route IS NOT NULL \
         UNION ALL SELECT i.route, 1, (SELECT due FROM request AS r \
                 WHERE state = {queued} AND crashes = 0 AND later = 1 AND r.route = i.route \
                 ORDER BY due, seq LIMIT 1), NULL, NULL \
         FROM delayed AS i WHERE i.route IS NOT NULL \
         UNION ALL SELECT i.route, 2, (SELECT due FROM request AS r \
                 WHERE state = {queued} AND crashes > 0 AND r.route = i.route ORDER BY due, seq LIMIT 1), NULL, NULL \
         FROM suspect AS i WHERE i.route IS NOT NULL"
    );
    let rows = query(sql).fetch_all(conn)?;
    let owner = |row: &Row, column| row.try_get::<Option<&str>>(column).map(|owner| owner.map(Owner::from));
    let one = |row: &Row| {
        let owners = owner(row, 3)?.zip(owner(row, 4)?);
        Ok(HeadRow { route: row.try_get(0)?, index: row.try_get(1)?, due: row.try_get(2)?, owners })
    };
    Head::of_each(routes, rows.iter().map(one))
}

/// Marks requests of this route as due that have become due.
pub(super) fn wake(conn: &Connection, route: &str, now: i64) -> Result<(), rusqlite::Error> {
    let sql = sql!(
        "UPDATE request SET later = 0 WHERE seq IN (SELECT seq FROM request \
         WHERE state = {queued} AND crashes = 0 AND later = 1 AND route = ?1 AND due <= ?2 ORDER BY due, seq LIMIT ?3)"
    );
    query(sql).bind(route).bind(now).bind(WAKE).execute(conn).map(drop)
}

/// Returns up to [`OWNERS`] owners of requests that can be claimed, in the order of their turns. The first one is the
/// owner after `last`, and the first of all owners comes after the last of all owners.
pub(super) fn owners(conn: &Connection, route: &str, last: Option<&Owner>) -> Result<Vec<Owner>, rusqlite::Error> {
    let sql = sql!(
        "WITH RECURSIVE after (owner, n) AS \
           (SELECT (SELECT min(owner) FROM request WHERE state = {queued} AND crashes = 0 AND later = 0 \
                    AND route = ?1 AND owner >= ?2), 1 \
            UNION ALL SELECT (SELECT min(owner) FROM request WHERE state = {queued} AND crashes = 0 AND later = 0 \
                    AND route = ?1 AND owner > after.owner), n + 1 \
            FROM after WHERE after.owner IS NOT NULL AND n < ?3), \
         before (owner, n) AS \
           (SELECT (SELECT min(owner) FROM request WHERE state = {queued} AND crashes = 0 AND later = 0 \
                    AND route = ?1 AND owner < ?2), 1 \
            UNION ALL SELECT (SELECT min(owner) FROM request WHERE state = {queued} AND crashes = 0 AND later = 0 \
                    AND route = ?1 AND owner > before.owner AND owner < ?2), n + 1 \
            FROM before WHERE before.owner IS NOT NULL AND n < ?3) \
         SELECT owner FROM after WHERE owner IS NOT NULL \
         UNION ALL SELECT owner FROM before WHERE owner IS NOT NULL LIMIT ?3"
    );
    // A text with a NUL byte more is the first text after this one.
    let from = last.map_or_else(String::new, |last| format!("{last}\0"));
    let owners = query_scalar(sql).bind(route).bind(from).bind(i64::try_from(OWNERS).unwrap_or(i64::MAX));
    Ok(owners.fetch_all::<String>(conn)?.into_iter().map(Owner::from).collect())
}

/// Claims up to `limit` requests of one owner. `beside` is the number of bytes of the rows that the claim has already.
pub(super) fn claim_of(
    batch: &mut Batch<'_>,
    route: &str,
    owner: &str,
    limit: usize,
    beside: i64,
) -> Result<Vec<Row>, rusqlite::Error> {
    let sql = sql!(
        "UPDATE request SET state = {running}, epoch = epoch + 1, node = ?1, \
         started = iif(deadline <= ?3 AND failures = 0, started, ?2) WHERE seq IN \
         (SELECT seq FROM (SELECT seq, size, \
             sum(size) OVER (ORDER BY priority DESC, due, seq ROWS UNBOUNDED PRECEDING) AS total FROM ( \
             SELECT r.priority, r.due, r.seq, length(b.headers) + length(b.body) AS size \
             FROM request AS r CROSS JOIN request_body AS b WHERE b.seq = r.seq AND r.state = {queued} \
             AND r.crashes = 0 AND r.later = 0 AND r.route = ?6 AND r.owner = ?7 \
             ORDER BY r.priority DESC, r.due, r.seq LIMIT ?8)) \
         WHERE total <= ?4 OR total = size AND ?5) \
         RETURNING due, seq, id, route, epoch, failures, crashes, created, cancel, owner, priority, timeout, extras, \
         coalesce(deadline <= ?3 AND failures = 0, 0), \
         (SELECT length(b.headers) + length(b.body) FROM request_body AS b WHERE b.seq = request.seq)"
    );
    let claim = claiming(sql, batch, beside).bind(route).bind(owner).bind(i64::try_from(limit).unwrap_or(i64::MAX));
    claim.fetch_all(batch.conn)
}

/// Claims the first request of each of these owners, in the order of the owners.
pub(super) fn claim_of_each(
    batch: &mut Batch<'_>,
    route: &str,
    owners: &[&str],
    beside: i64,
) -> Result<Vec<Row>, rusqlite::Error> {
    let sql = sql!(
        "UPDATE request SET state = {running}, epoch = epoch + 1, node = ?1, \
         started = iif(deadline <= ?3 AND failures = 0, started, ?2) WHERE seq IN \
         (SELECT seq FROM (SELECT seq, size, sum(size) OVER (ORDER BY place ROWS UNBOUNDED PRECEDING) AS total FROM ( \
             SELECT c.place, b.seq, length(b.headers) + length(b.body) AS size FROM ( \
                 SELECT j.key AS place, (SELECT seq FROM request AS r WHERE state = {queued} AND crashes = 0 AND later = 0 \
                     AND route = ?6 AND r.owner = j.value ORDER BY priority DESC, due, seq LIMIT 1) AS seq \
                 FROM json_each(?7) AS j) AS c CROSS JOIN request_body AS b WHERE b.seq = c.seq ORDER BY c.place)) \
         WHERE total <= ?4 OR total = size AND ?5) \
         RETURNING due, seq, id, route, epoch, failures, crashes, created, cancel, owner, priority, timeout, extras, \
         coalesce(deadline <= ?3 AND failures = 0, 0), \
         (SELECT length(b.headers) + length(b.body) FROM request_body AS b WHERE b.seq = request.seq)"
    );
    let owners = json(owners)?;
    claiming(sql, batch, beside).bind(route).bind(owners).fetch_all(batch.conn)
}

/// Claims the first suspect of this route: the request that has been due longest of those that were running when an
/// earlier process ended.
pub(super) fn claim_suspect(batch: &mut Batch<'_>, route: &str) -> Result<Vec<Row>, rusqlite::Error> {
    let sql = sql!(
        "UPDATE request SET state = {running}, epoch = epoch + 1, node = ?1, started = ?2 WHERE seq IN \
         (SELECT seq FROM request WHERE state = {queued} AND crashes > 0 AND route = ?3 ORDER BY due, seq LIMIT 1) \
         RETURNING due, seq, id, route, epoch, failures, crashes, created, cancel, owner, priority, timeout, extras, 0, \
         (SELECT length(b.headers) + length(b.body) FROM request_body AS b WHERE b.seq = request.seq)"
    );
    let claim = query(sql).bind(batch.start.node).bind(batch.now.wall.micros()).bind(route);
    claim.fetch_all(batch.conn)
}

/// Claims requests whose first run should have begun by now. They are claimed so that they can be settled.
pub(super) fn claim_expired(batch: &mut Batch<'_>, limit: usize) -> Result<Vec<Row>, rusqlite::Error> {
    let sql = sql!(
        "UPDATE request SET state = {running}, epoch = epoch + 1, node = ?1 WHERE seq IN \
         (SELECT seq FROM (SELECT seq, size, \
             sum(size) OVER (ORDER BY deadline, seq ROWS UNBOUNDED PRECEDING) AS total FROM ( \
             SELECT r.deadline, r.seq, length(b.headers) + length(b.body) AS size \
             FROM request AS r CROSS JOIN request_body AS b WHERE b.seq = r.seq AND r.state = {queued} \
             AND r.failures = 0 AND r.crashes = 0 AND r.deadline IS NOT NULL AND r.deadline <= ?2 \
             ORDER BY r.deadline, r.seq LIMIT ?4)) \
         WHERE total <= ?3 OR total = size) \
         RETURNING due, seq, id, route, epoch, failures, crashes, created, cancel, owner, priority, timeout, extras, 1"
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let claim = query(sql).bind(batch.start.node).bind(batch.now.due.micros()).bind(CLAIM_BYTES).bind(limit);
    claim.fetch_all(batch.conn)
}

/// Returns the time until which the first run of some waiting request must begin. No waiting request has an earlier one.
pub(super) fn next_deadline(conn: &Connection) -> Result<Option<i64>, rusqlite::Error> {
    let sql = sql!(
        "SELECT deadline FROM request WHERE state = {queued} AND failures = 0 AND crashes = 0 AND deadline IS NOT NULL \
         ORDER BY deadline, seq LIMIT 1"
    );
    query_scalar(sql).fetch_optional(conn)
}

/// Binds what the statements that claim have in common: the node, the time of both clocks, and how many bytes the rows
/// may have. The first row may have more if the claim has no other rows.
fn claiming<'q>(sql: &'static str, batch: &Batch<'_>, beside: i64) -> Query<'q> {
    let claim = query(sql).bind(batch.start.node).bind(batch.now.wall.micros()).bind(batch.now.due.micros());
    claim.bind((CLAIM_BYTES - beside).max(0)).bind(beside == 0)
}

/// Returns the number of bytes of all these rows together.
pub(super) fn size(rows: &[Row]) -> Result<i64, rusqlite::Error> {
    rows.iter().map(|row| row.try_get::<i64>(SIZE)).sum()
}
