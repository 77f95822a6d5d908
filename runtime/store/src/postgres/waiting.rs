//! The statements about requests that wait: which wait, and the claims of some of them.
//!
//! The index `request_due` has only requests that are due. Its rows are ordered by route, by owner, and then as they are
//! to be claimed. So each owner in the index has a request that can be claimed, and no statement here passes over rows,
//! apart from those that another node is just claiming.

use sqlx::Row as _;
use sqlx::postgres::{PgArguments, PgConnection, PgRow, Postgres};
use sqlx::query::Query;

use super::Batch;
use super::codec::{CLAIM_BYTES, limit};
use super::requests::{CLAIMED, SIZE};
use super::statement::{query, query_scalar};
use crate::record::Owner;
use crate::share::OWNERS;
use crate::sql::states::sql;
use crate::sql::waiting::{Head, HeadRow};

/// How many requests of one route a claim marks as due. If more have become due, the next claim continues.
const WAKE: i64 = 256;

/// Returns a [`Head`] for each route, in the order of the routes.
///
/// The statement goes from one waiting route to the next in each index. So it costs what waits, however many routes
/// there are: a look at an empty queue reads three entries.
pub(super) async fn heads(conn: &mut PgConnection, routes: &[String]) -> Result<Vec<Head>, sqlx::Error> {
    let sql = sql!(
        "WITH RECURSIVE fresh (route) AS \
           (SELECT (SELECT min(route) FROM request WHERE state = {queued} AND crashes = 0 AND NOT later) \
            UNION ALL SELECT (SELECT min(route) FROM request \
                WHERE state = {queued} AND crashes = 0 AND NOT later AND route > fresh.route) \
            FROM fresh WHERE fresh.route IS NOT NULL), \
         delayed (route) AS \
           (SELECT (SELECT min(route) FROM request WHERE state = {queued} AND crashes = 0 AND later) \
            UNION ALL SELECT (SELECT min(route) FROM request \
                WHERE state = {queued} AND crashes = 0 AND later AND route > delayed.route) \
            FROM delayed WHERE delayed.route IS NOT NULL), \
         suspect (route) AS \
           (SELECT (SELECT min(route) FROM request WHERE state = {queued} AND crashes > 0) \
            UNION ALL SELECT (SELECT min(route) FROM request \
                WHERE state = {queued} AND crashes > 0 AND route > suspect.route) \
            FROM suspect WHERE suspect.route IS NOT NULL) \
         SELECT i.route, 0, (SELECT due FROM request AS r \
                 WHERE state = {queued} AND crashes = 0 AND NOT later AND r.route = i.route \
                 ORDER BY owner, priority DESC, due, seq LIMIT 1), \
                (SELECT min(owner) FROM request AS r \
                 WHERE state = {queued} AND crashes = 0 AND NOT later AND r.route = i.route), \
                (SELECT max(owner) FROM request AS r \
                 WHERE state = {queued} AND crashes = 0 AND NOT later AND r.route = i.route) \
         FROM fresh AS i WHERE i.route = ANY($1) \
         UNION ALL SELECT i.route, 1, (SELECT min(due) FROM request AS r \
                 WHERE state = {queued} AND crashes = 0 AND later AND r.route = i.route), NULL, NULL \
         FROM delayed AS i WHERE i.route = ANY($1) \
         UNION ALL SELECT i.route, 2, (SELECT min(due) FROM request AS r \
                 WHERE state = {queued} AND crashes > 0 AND r.route = i.route), NULL, NULL \
         FROM suspect AS i WHERE i.route = ANY($1)"
    );
    let rows = query(sql).bind(routes).fetch_all(conn).await?;
    let owner = |row: &PgRow, column| row.try_get::<Option<&str>, _>(column).map(|owner| owner.map(Owner::from));
    let one = |row: &PgRow| {
        let (index, owners) = (row.try_get::<i32, _>(1)?.into(), owner(row, 3)?.zip(owner(row, 4)?));
        Ok(HeadRow { route: row.try_get(0)?, index, due: row.try_get(2)?, owners })
    };
    Head::of_each(routes, rows.iter().map(one))
}

/// Marks requests of this route as due that have become due.
pub(super) async fn wake(conn: &mut PgConnection, route: &str, now: i64) -> Result<(), sqlx::Error> {
    let sql = sql!(
        "UPDATE request SET later = false WHERE seq IN (SELECT seq FROM request \
         WHERE state = {queued} AND crashes = 0 AND later AND route = $1 AND due <= $2 ORDER BY due, seq LIMIT $3 \
         FOR UPDATE SKIP LOCKED)"
    );
    query(sql).bind(route).bind(now).bind(WAKE).execute(conn).await.map(drop)
}

/// Returns up to [`OWNERS`] owners of requests that can be claimed, in the order of their turns. The first one is the
/// owner after `last`, and the first of all owners comes after the last of all owners.
pub(super) async fn owners(
    conn: &mut PgConnection,
    route: &str,
    last: Option<&Owner>,
) -> Result<Vec<Owner>, sqlx::Error> {
    // If there is no last owner, `$4` is true. Then all owners come after the last one.
    let sql = sql!(
        "WITH RECURSIVE after (owner, n) AS \
           (SELECT (SELECT min(owner) FROM request WHERE state = {queued} AND crashes = 0 AND NOT later \
                    AND route = $1 AND (owner > $2 OR $4)), 1 \
            UNION ALL SELECT (SELECT min(owner) FROM request WHERE state = {queued} AND crashes = 0 AND NOT later \
                    AND route = $1 AND owner > after.owner), n + 1 \
            FROM after WHERE after.owner IS NOT NULL AND n < $3), \
         before (owner, n) AS \
           (SELECT (SELECT min(owner) FROM request WHERE state = {queued} AND crashes = 0 AND NOT later \
                    AND route = $1 AND owner <= $2 AND NOT $4), 1 \
            UNION ALL SELECT (SELECT min(owner) FROM request WHERE state = {queued} AND crashes = 0 AND NOT later \
                    AND route = $1 AND owner > before.owner AND owner <= $2), n + 1 \
            FROM before WHERE before.owner IS NOT NULL AND n < $3) \
         SELECT owner FROM (SELECT 0 AS part, n, owner FROM after UNION ALL SELECT 1, n, owner FROM before) AS turns \
         WHERE owner IS NOT NULL ORDER BY part, n LIMIT $3"
    );
    let from = last.map_or("", |last| &**last);
    let owners = query_scalar::<String>(sql).bind(route).bind(from).bind(limit(OWNERS)).bind(last.is_none());
    Ok(owners.fetch_all(conn).await?.into_iter().map(Owner::from).collect())
}

/// Makes a statement that claims the rows that the query `$picked` returns by their numbers, and that returns them with
/// their bodies. `$set` sets further columns, and `$expired` says whether a request has expired.
macro_rules! claim {
    ($picked:literal, $set:literal, $expired:literal) => {
        sql!(
            "WITH p AS MATERIALIZED (",
            $picked,
            ") UPDATE request AS r SET state = {running}, epoch = r.epoch + 1, node = $1",
            $set,
            " FROM p JOIN request_body AS b ON b.seq = p.seq LEFT JOIN registration AS g ON g.seq = p.seq \
             WHERE r.seq = p.seq RETURNING ",
            CLAIMED!($expired)
        )
    };
}

/// Claims up to `most` requests of one owner. `beside` is the number of bytes of the rows that the claim has already.
pub(super) async fn claim_of(
    batch: &mut Batch<'_>,
    route: &str,
    owner: &str,
    most: usize,
    beside: i64,
) -> Result<Vec<PgRow>, sqlx::Error> {
    let sql = claim!(
        "SELECT seq FROM (SELECT seq, size, \
             sum(size) OVER (ORDER BY priority DESC, due, seq ROWS UNBOUNDED PRECEDING) AS total FROM ( \
             SELECT r.priority, r.due, r.seq, octet_length(b.headers) + octet_length(b.body) AS size \
             FROM request AS r JOIN request_body AS b ON b.seq = r.seq WHERE r.state = {queued} \
             AND r.crashes = 0 AND NOT r.later AND r.route = $6 AND r.owner = $7 \
             ORDER BY r.priority DESC, r.due, r.seq LIMIT $8 FOR UPDATE OF r SKIP LOCKED) AS x) AS y WHERE total <= $4 OR total = size AND $5",
        ", started = CASE WHEN r.deadline <= $3 AND r.failures = 0 THEN r.started ELSE $2 END",
        "coalesce(r.deadline <= $3 AND r.failures = 0, false)"
    );
    let claim = claiming(sql, batch, beside).bind(route).bind(owner).bind(limit(most));
    claim.fetch_all(&mut *batch.conn).await
}

/// Claims the first request of each of these owners, in the order of the owners.
pub(super) async fn claim_of_each(
    batch: &mut Batch<'_>,
    route: &str,
    owners: &[&str],
    beside: i64,
) -> Result<Vec<PgRow>, sqlx::Error> {
    let sql = claim!(
        "SELECT seq FROM (SELECT seq, size, sum(size) OVER (ORDER BY n ROWS UNBOUNDED PRECEDING) AS total FROM ( \
             SELECT i.n, b.seq, octet_length(b.headers) + octet_length(b.body) AS size \
             FROM unnest($7::text[]) WITH ORDINALITY AS i (owner, n) CROSS JOIN LATERAL ( \
                 SELECT seq FROM request AS r WHERE state = {queued} AND crashes = 0 AND NOT later \
                     AND route = $6 AND r.owner = i.owner ORDER BY priority DESC, due, seq LIMIT 1 \
                     FOR UPDATE SKIP LOCKED) AS c \
             JOIN request_body AS b ON b.seq = c.seq) AS x) AS y WHERE total <= $4 OR total = size AND $5",
        ", started = CASE WHEN r.deadline <= $3 AND r.failures = 0 THEN r.started ELSE $2 END",
        "coalesce(r.deadline <= $3 AND r.failures = 0, false)"
    );
    claiming(sql, batch, beside).bind(route).bind(owners).fetch_all(&mut *batch.conn).await
}

/// Claims the first suspect of this route: the request that has been due longest of those that were running when an
/// earlier process ended.
pub(super) async fn claim_suspect(batch: &mut Batch<'_>, route: &str) -> Result<Vec<PgRow>, sqlx::Error> {
    let sql = claim!(
        "SELECT seq FROM request WHERE state = {queued} AND crashes > 0 AND route = $3 ORDER BY due, seq LIMIT 1 \
         FOR UPDATE SKIP LOCKED",
        ", started = $2",
        "false"
    );
    let claim = query(sql).bind(batch.start.node).bind(batch.now.wall.micros()).bind(route);
    claim.fetch_all(&mut *batch.conn).await
}

/// Claims requests whose first run should have begun by now. They are claimed so that they can be settled.
pub(super) async fn claim_expired(batch: &mut Batch<'_>, most: usize) -> Result<Vec<PgRow>, sqlx::Error> {
    let sql = claim!(
        "SELECT seq FROM (SELECT seq, size, \
             sum(size) OVER (ORDER BY deadline, seq ROWS UNBOUNDED PRECEDING) AS total FROM ( \
             SELECT r.deadline, r.seq, octet_length(b.headers) + octet_length(b.body) AS size \
             FROM request AS r JOIN request_body AS b ON b.seq = r.seq WHERE r.state = {queued} \
             AND r.failures = 0 AND r.crashes = 0 AND r.deadline IS NOT NULL AND r.deadline <= $2 \
             ORDER BY r.deadline, r.seq LIMIT $4 FOR UPDATE OF r SKIP LOCKED) AS x) AS y WHERE total <= $3 OR total = size",
        "",
        "true"
    );
    let claim = query(sql).bind(batch.start.node).bind(batch.now.due.micros()).bind(CLAIM_BYTES).bind(limit(most));
    claim.fetch_all(&mut *batch.conn).await
}

/// Returns the time until which the first run of some waiting request must begin. No waiting request has an earlier one.
pub(super) async fn next_deadline(conn: &mut PgConnection) -> Result<Option<i64>, sqlx::Error> {
    let sql = sql!(
        "SELECT deadline FROM request WHERE state = {queued} AND failures = 0 AND crashes = 0 AND deadline IS NOT NULL \
         ORDER BY deadline, seq LIMIT 1"
    );
    query_scalar(sql).fetch_optional(conn).await
}

/// Binds what the statements that claim have in common: the node, the time of both clocks, and how many bytes the rows
/// may have. The first row may have more if the claim has no other rows.
fn claiming<'q>(sql: &'static str, batch: &Batch<'_>, beside: i64) -> Query<'q, Postgres, PgArguments> {
    let claim = query(sql).bind(batch.start.node).bind(batch.now.wall.micros()).bind(batch.now.due.micros());
    claim.bind((CLAIM_BYTES - beside).max(0)).bind(beside == 0)
}

/// Returns the number of bytes of all these rows together.
pub(super) fn size(rows: &[PgRow]) -> Result<i64, sqlx::Error> {
    rows.iter().map(|row| row.try_get::<i64, _>(SIZE)).sum()
}
