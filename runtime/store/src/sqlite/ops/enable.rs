//! Enables URLs, and makes the reports that are held for them due.

use super::Apply;
use crate::ops::{Enable, Enabled};
use crate::sqlite::Batch;
use crate::sqlite::statement::{query, query_scalar};
use crate::sqlite::states::sql;

impl Apply for Enable {
    fn apply(batch: &mut Batch<'_>) -> Result<(), rusqlite::Error> {
        for (at, Self { url, limit, probe }) in batch.of::<Self>() {
            let sql = sql!(
                "UPDATE report SET state = {pending}, held = NULL, due = ?2 WHERE seq IN \
                 (SELECT seq FROM report WHERE state = {held} AND held = (SELECT seq FROM disabled WHERE url = ?1) \
                  ORDER BY seq LIMIT ?3)"
            );
            let limit = i64::try_from(*limit).unwrap_or(i64::MAX);
            let enable = query(sql).bind(url).bind(batch.now.due.micros()).bind(limit);
            let reports = enable.execute(batch.conn)?;
            let done = if *probe { false } else { enable_if_empty(batch, url)? };
            batch.answer::<Self>(at, Enabled { reports, done });
        }
        Ok(())
    }
}

/// Enables the URL if no report is held for the URL. Returns whether the URL is enabled now.
fn enable_if_empty(batch: &mut Batch<'_>, url: &str) -> Result<bool, rusqlite::Error> {
    let sql = sql!(
        "DELETE FROM disabled WHERE url = ?1 \
         AND NOT EXISTS (SELECT 1 FROM report WHERE state = {held} AND held = disabled.seq)"
    );
    query(sql).bind(url).execute(batch.conn)?;
    let sql = "SELECT NOT EXISTS (SELECT 1 FROM disabled WHERE url = ?1)";
    query_scalar(sql).bind(url).fetch_one(batch.conn)
}
