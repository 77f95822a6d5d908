//! Reads figures.

use futures_util::future::BoxFuture;
use sqlx::Row as _;
use sqlx::postgres::{PgPool, PgRow};

use super::codec::limit;
use super::failure::answer;
use super::read::Rows;
use super::statement::{query, query_scalar};
use crate::backend::Cause;
use crate::series::{Figures, MOST_LISTED, MOST_READ, Scope, SeriesRows, Step};
use postback_wire::time::Timestamp;

async fn series(
    pool: &PgPool,
    scope: &Scope,
    step: Step,
    from: Timestamp,
    until: Timestamp,
) -> Result<Vec<(Timestamp, Figures)>, sqlx::Error> {
    let sql = "SELECT at, figures FROM series WHERE kind = $1 AND name = $2 AND step = $3 AND at >= $4 AND at < $5 \
               ORDER BY at DESC LIMIT $6";
    let (kind, name) = scope.key();
    let read = query(sql).bind(kind).bind(name).bind(i64::from(step.minutes())).bind(from.micros());
    let rows = read.bind(until.micros()).bind(MOST_READ).fetch_all(pool).await?;
    let one = |row: &PgRow| Ok((Timestamp::from_micros(row.try_get(0)?), Figures::from_text(row.try_get(1)?)));
    rows.iter().map(one).collect()
}

async fn names(pool: &PgPool, kind: i64) -> Result<Vec<String>, sqlx::Error> {
    // The statement uses the index to go from one name to the next, so its cost does not depend on the number of rows.
    let sql = "WITH RECURSIVE named (name, n) AS \
                 (SELECT min(name), 1 FROM series WHERE kind = $1 \
                  UNION ALL SELECT (SELECT min(s.name) FROM series AS s WHERE s.kind = $1 AND s.name > named.name), n + 1 \
                  FROM named WHERE named.name IS NOT NULL AND n < $2) \
               SELECT name FROM named WHERE name IS NOT NULL";
    query_scalar(sql).bind(kind).bind(limit(MOST_LISTED)).fetch_all(pool).await
}

impl SeriesRows for Rows {
    fn series<'a>(
        &'a self,
        scope: &'a Scope,
        step: Step,
        from: Timestamp,
        until: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<(Timestamp, Figures)>, Cause>> {
        answer(series(self.pool(), scope, step, from, until))
    }

    fn series_names(&self, kind: i64) -> BoxFuture<'_, Result<Vec<String>, Cause>> {
        answer(names(self.pool(), kind))
    }
}
