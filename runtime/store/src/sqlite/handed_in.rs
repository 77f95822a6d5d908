//! Reads the table `handed_in`, and deletes what is taken.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use rusqlite::Connection;

use super::codec::{blob, json};
use super::read::Rows;
use super::statement::{Row, query, query_scalar};
use crate::backend::Cause;
use crate::handed_in::{HandInCounts, HandInRows, MOST_COUNTED, PAGE};
use postback_wire::id::ReportId;

/// Deletes the row with this id. Returns whether it was there.
pub(super) fn take(conn: &Connection, id: &str) -> Result<bool, rusqlite::Error> {
    query("DELETE FROM handed_in WHERE id = ?1").bind(id).execute(conn).map(|rows| rows > 0)
}

/// Whether the store has this report. A program that does not know whether its transaction was committed may hand in the
/// same reports again, after they were taken.
pub(super) fn is_known_report(conn: &Connection, id: ReportId) -> Result<bool, rusqlite::Error> {
    let id: &[u8] = id.as_bytes();
    let known: Option<i64> = query_scalar("SELECT seq FROM report WHERE id = ?1").bind(id).fetch_optional(conn)?;
    Ok(known.is_some())
}

fn hand_ins(conn: &Connection, after: &str) -> Result<Vec<(String, u64)>, rusqlite::Error> {
    let sql = "SELECT id, length(content) FROM handed_in WHERE problem IS NULL AND id > ?1 ORDER BY id LIMIT ?2";
    let one = |row: &Row| Ok((row.try_get(0)?, u64::try_from(row.try_get::<i64>(1)?).unwrap_or(0)));
    query(sql).bind(after).bind(PAGE).fetch_all(conn)?.iter().map(one).collect()
}

fn contents(conn: &Connection, ids: &[String]) -> Result<Vec<(String, Bytes)>, rusqlite::Error> {
    let sql = "SELECT id, content FROM handed_in \
               WHERE problem IS NULL AND id IN (SELECT value FROM json_each(?1)) ORDER BY id";
    let one = |row: &Row| Ok((row.try_get(0)?, blob(row, 1)?));
    query(sql).bind(json(ids)?).fetch_all(conn)?.iter().map(one).collect()
}

fn counts(conn: &Connection) -> Result<HandInCounts, rusqlite::Error> {
    let most = i64::try_from(MOST_COUNTED).unwrap_or(i64::MAX);
    let waiting = "SELECT count(*) FROM (SELECT 1 FROM handed_in WHERE problem IS NULL LIMIT ?1)";
    let set_aside = "SELECT count(*) FROM (SELECT 1 FROM handed_in WHERE problem IS NOT NULL LIMIT ?1)";
    let count = |sql| -> Result<u64, rusqlite::Error> {
        let rows: i64 = query_scalar(sql).bind(most).fetch_one(conn)?;
        Ok(u64::try_from(rows).unwrap_or(0))
    };
    Ok(HandInCounts { waiting: count(waiting)?, set_aside: count(set_aside)? })
}

impl HandInRows for Rows {
    fn hand_ins(&self, after: String) -> BoxFuture<'_, Result<Vec<(String, u64)>, Cause>> {
        self.run(move |conn| hand_ins(conn, &after))
    }

    fn hand_in_contents(&self, ids: Vec<String>) -> BoxFuture<'_, Result<Vec<(String, Bytes)>, Cause>> {
        self.run(move |conn| contents(conn, &ids))
    }

    fn hand_in_counts(&self) -> BoxFuture<'_, Result<HandInCounts, Cause>> {
        self.run(counts)
    }
}
