//! Reads the table `handed_in`, and deletes what is taken.

use std::collections::HashSet;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use sqlx::Row as _;
use sqlx::postgres::{PgConnection, PgPool, PgRow};
use uuid::Uuid;

use super::codec::{blob, count, limit};
use super::failure::answer;
use super::read::Rows;
use super::statement::query;
use crate::backend::Cause;
use crate::handed_in::{HandInCounts, HandInRows, MOST_COUNTED, PAGE};

/// Deletes the rows with these ids. Returns the ids of those that were there. A row that another node is taking counts as
/// gone: this node waits for nobody, and looks again later.
pub(super) async fn take(conn: &mut PgConnection, ids: Vec<String>) -> Result<HashSet<String>, sqlx::Error> {
    if ids.is_empty() {
        return Ok(HashSet::new());
    }
    let sql = "WITH t AS MATERIALIZED (SELECT id FROM handed_in WHERE id = ANY($1) ORDER BY id FOR UPDATE SKIP LOCKED) \
               DELETE FROM handed_in AS h USING t WHERE h.id = t.id RETURNING h.id";
    query(sql).bind(ids).fetch_all(conn).await?.iter().map(|row| row.try_get(0)).collect()
}

/// Returns which of these reports the store has. A program that does not know whether its transaction was committed may
/// hand in the same reports again, after they were taken.
pub(super) async fn known_reports(conn: &mut PgConnection, ids: Vec<Uuid>) -> Result<HashSet<Uuid>, sqlx::Error> {
    if ids.is_empty() {
        return Ok(HashSet::new());
    }
    let sql = "SELECT id FROM report WHERE id = ANY($1)";
    query(sql).bind(ids).fetch_all(conn).await?.iter().map(|row| row.try_get(0)).collect()
}

async fn hand_ins(pool: &PgPool, after: &str) -> Result<Vec<(String, u64)>, sqlx::Error> {
    let sql = "SELECT id, octet_length(content)::bigint FROM handed_in WHERE problem IS NULL AND id > $1 ORDER BY id LIMIT $2";
    let one = |row: &PgRow| Ok((row.try_get(0)?, count(row, 1)?));
    query(sql).bind(after).bind(PAGE).fetch_all(pool).await?.iter().map(one).collect()
}

async fn contents(pool: &PgPool, ids: Vec<String>) -> Result<Vec<(String, Bytes)>, sqlx::Error> {
    let sql = "SELECT id, content FROM handed_in WHERE problem IS NULL AND id = ANY($1) ORDER BY id";
    let one = |row: &PgRow| Ok((row.try_get(0)?, blob(row, 1)?));
    query(sql).bind(ids).fetch_all(pool).await?.iter().map(one).collect()
}

async fn counts(pool: &PgPool) -> Result<HandInCounts, sqlx::Error> {
    let sql = "SELECT (SELECT count(*) FROM (SELECT 1 FROM handed_in WHERE problem IS NULL LIMIT $1) AS w), \
               (SELECT count(*) FROM (SELECT 1 FROM handed_in WHERE problem IS NOT NULL LIMIT $1) AS s)";
    let row = query(sql).bind(limit(usize::try_from(MOST_COUNTED).unwrap_or(usize::MAX))).fetch_one(pool).await?;
    Ok(HandInCounts { waiting: count(&row, 0)?, set_aside: count(&row, 1)? })
}

impl HandInRows for Rows {
    fn hand_ins(&self, after: String) -> BoxFuture<'_, Result<Vec<(String, u64)>, Cause>> {
        answer(async move { hand_ins(self.pool(), &after).await })
    }

    fn hand_in_contents(&self, ids: Vec<String>) -> BoxFuture<'_, Result<Vec<(String, Bytes)>, Cause>> {
        answer(contents(self.pool(), ids))
    }

    fn hand_in_counts(&self) -> BoxFuture<'_, Result<HandInCounts, Cause>> {
        answer(counts(self.pool()))
    }
}
