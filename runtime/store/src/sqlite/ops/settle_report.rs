//! Records attempts, and changes the states of their reports.

use rusqlite::{Connection, params};

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
        // The first statement finds out whether the claim is current. In the second one, the number of the attempt is that
        // of the row.
        let mut settle = statement(
            conn,
            sql!(
                "UPDATE report SET state = ?1, due = coalesce(?2, due), finished = ?3, node = NULL \
                 WHERE seq = ?4 AND epoch = ?5 AND +state = {delivering}"
            ),
        )?;
        let mut record = statement(
            conn,
            "INSERT INTO attempt (report, n, epoch, started, took, status, error, response) \
             SELECT seq, attempt, epoch, ?2, ?3, ?4, ?5, ?6 FROM report WHERE seq = ?1",
        )?;
        for (at, Self { claim, attempt, next }) in all {
            let (due, finished) = match next {
                Next::RetryAt(due) => (Some(due.micros()), None),
                Next::Delivered | Next::DeliveredLast | Next::Dead | Next::Refused | Next::Gone { .. } => {
                    (None, Some(now))
                }
            };
            let seq = batch.report_rows.take(conn, &claim.id)?;
            let state = ReportState::after(*next).code();
            if settle.execute(params![state, due, finished, seq, claim.epoch])? == 0 {
                batch.answer::<Self>(at, SettledReport::Stale);
                continue;
            }
            let Attempt { started, took, status, error, response } = attempt;
            let took = i64::try_from(took.as_micros()).unwrap_or(i64::MAX);
            record.execute(params![seq, started.micros(), took, status, error.as_deref(), &**response])?;
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
