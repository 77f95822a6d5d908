//! Records attempts, and changes the states of their reports.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::Apply;
use crate::ops::{SettleReport, SettledReport};
use crate::record::{Attempt, Next};
use crate::sqlite::Batch;
use crate::sqlite::statement::{query, query_scalar, statement};
use crate::sqlite::states::{ReportState, sql};

impl Apply for SettleReport {
    fn apply(batch: &mut Batch<'_>) -> Result<(), rusqlite::Error> {
        let mut all = batch.of::<Self>().peekable();
        if all.peek().is_none() {
            return Ok(());
        }
        let (conn, now) = (batch.conn, batch.now.wall.micros());
        let sql = sql!("SELECT attempt FROM report WHERE seq = ?1 AND epoch = ?2 AND +state = {delivering}");
        let mut claimed = statement(conn, sql)?;
        let sql = "UPDATE report SET state = ?1, due = coalesce(?2, due), finished = ?3, node = NULL WHERE seq = ?4";
        let mut settle = statement(conn, sql)?;
        let sql = "INSERT INTO attempt (report, n, epoch, started, took, status, error, response) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        let mut record = statement(conn, sql)?;
        for (at, Self { claim, attempt, next }) in all {
            let (due, finished) = match next {
                Next::RetryAt(due) => (Some(due.micros()), None),
                Next::Delivered | Next::DeliveredLast | Next::Dead | Next::Refused | Next::Gone { .. } => {
                    (None, Some(now))
                }
            };
            let seq = batch.report_rows.take(conn, &claim.id)?;
            let number: Option<i64> = claimed.query_row(params![seq, claim.epoch], |row| row.get(0)).optional()?;
            let Some(number) = number else {
                batch.answer::<Self>(at, SettledReport::Stale);
                continue;
            };
            settle.execute(params![ReportState::after(*next).code(), due, finished, seq])?;
            let Attempt { started, took, status, error, response } = attempt;
            let took = i64::try_from(took.as_micros()).unwrap_or(i64::MAX);
            let error = error.as_deref();
            record.execute(params![seq, number, claim.epoch, started.micros(), took, status, error, &**response])?;
            let url = if next.disables() { disable(conn, seq, attempt, now)? } else { None };
            batch.answer::<Self>(at, url.map_or(SettledReport::Current, SettledReport::Disabled));
        }
        Ok(())
    }
}

/// Disables the URL of the report in this row, because the receiver wants no more reports there. Returns the URL.
fn disable(conn: &Connection, row: i64, attempt: &Attempt, now: i64) -> Result<Option<String>, rusqlite::Error> {
    let url = query_scalar("SELECT url FROM report_body WHERE seq = ?1").bind(row).fetch_optional::<String>(conn)?;
    if let Some(url) = &url {
        let sql = "INSERT INTO disabled (url, since, reason) VALUES (?1, ?2, ?3) ON CONFLICT (url) DO NOTHING";
        query(sql).bind(url).bind(now).bind(attempt.error.as_deref().unwrap_or_default()).execute(conn)?;
    }
    Ok(url)
}
