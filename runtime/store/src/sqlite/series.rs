//! Reads figures.

use futures_util::future::BoxFuture;
use rusqlite::Connection;

use super::read::Rows;
use super::statement::{Row, query, query_scalar};
use crate::backend::Cause;
use crate::series::{Figures, MOST_LISTED, MOST_READ, Scope, SeriesRows, Step};
use postback_wire::time::Timestamp;

fn series(
    conn: &Connection,
    scope: &Scope,
    step: Step,
    from: Timestamp,
    until: Timestamp,
) -> Result<Vec<(Timestamp, Figures)>, rusqlite::Error> {
    let sql = "SELECT at, figures FROM series WHERE kind = ?1 AND name = ?2 AND step = ?3 AND at >= ?4 AND at < ?5 \
               ORDER BY at DESC LIMIT ?6";
    let (kind, name) = scope.key();
    let read = query(sql).bind(kind).bind(name).bind(i64::from(step.minutes())).bind(from.micros());
    let rows = read.bind(until.micros()).bind(MOST_READ).fetch_all(conn)?;
    let one = |row: &Row| Ok((Timestamp::from_micros(row.try_get(0)?), Figures::from_text(row.try_get(1)?)));
    rows.iter().map(one).collect()
}

fn names(conn: &Connection, kind: i64) -> Result<Vec<String>, rusqlite::Error> {
    // The statement uses the index to go from one name to the next, so its cost does not depend on the number of rows.
    let sql = "WITH RECURSIVE named (name, n) AS \
                 (SELECT min(name), 1 FROM series WHERE kind = ?1 \
                  UNION ALL SELECT (SELECT min(name) FROM series WHERE kind = ?1 AND name > named.name), n + 1 \
                  FROM named WHERE named.name IS NOT NULL AND n < ?2) \
               SELECT name FROM named WHERE name IS NOT NULL";
    query_scalar(sql).bind(kind).bind(i64::try_from(MOST_LISTED).unwrap_or(i64::MAX)).fetch_all(conn)
}

impl SeriesRows for Rows {
    fn series<'a>(
        &'a self,
        scope: &'a Scope,
        step: Step,
        from: Timestamp,
        until: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<(Timestamp, Figures)>, Cause>> {
        let scope = scope.clone();
        self.run(move |conn| series(conn, &scope, step, from, until))
    }

    fn series_names(&self, kind: i64) -> BoxFuture<'_, Result<Vec<String>, Cause>> {
        self.run(move |conn| names(conn, kind))
    }
}
