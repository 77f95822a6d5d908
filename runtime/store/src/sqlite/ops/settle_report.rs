//! Records attempts, and changes the states of their reports.

use std::collections::HashSet;
use std::sync::LazyLock;

use sqlx::Row as _;

use super::Apply;
use crate::ops::{SettleReport, SettledReport};
use crate::record::{Attempt, Next, ReportClaim};
use crate::sqlite::Batch;
use crate::sqlite::bulk::{Bind, Many};
use crate::sqlite::codec::{hex, json};
use crate::sqlite::statement::query;
use crate::sqlite::states::{ReportState, sql};

/// The three statements that settle reports. The first statement returns the indexes of the operations whose claims are
/// not current. In the last statement, the `+` before `report.state` prevents SQLite from using an index on the state,
/// because SQLite would then read all reports that are being delivered.
static SETTLE: LazyLock<Many<3>> = LazyLock::new(|| {
    Many::new([
        (
            sql!(
                "SELECT v.column3 FROM $rows AS v \
                 LEFT JOIN report AS r ON r.seq = v.column1 AND r.epoch = v.column2 AND r.state = {delivering} \
                 WHERE v.column1 IS NOT NULL AND r.seq IS NULL"
            ),
            3,
        ),
        (
            sql!(
                "INSERT INTO attempt (report, n, epoch, started, took, status, error, response) \
                 SELECT r.seq, r.attempt, r.epoch, column3, column4, column5, column6, column7 FROM $rows AS v \
                 CROSS JOIN report AS r WHERE r.seq = v.column1 AND r.epoch = v.column2 AND r.state = {delivering}"
            ),
            7,
        ),
        (
            sql!(
                "UPDATE report SET state = v.column3, due = coalesce(v.column4, report.due), finished = v.column5, \
                 node = NULL FROM $rows AS v \
                 WHERE report.seq = v.column1 AND report.epoch = v.column2 AND +report.state = {delivering}"
            ),
            5,
        ),
    ])
});

struct Settle<'a> {
    /// The index of the operation in the batch.
    at: usize,
    /// The number of the report's row in the table `report`.
    row: i64,
    claim: &'a ReportClaim,
    attempt: &'a Attempt,
    next: Next,
}

impl Apply for SettleReport {
    async fn apply(batch: &mut Batch<'_>) -> Result<(), sqlx::Error> {
        let mut settles = Vec::new();
        for (at, Self { claim, attempt, next }) in batch.of::<Self>() {
            settles.push(Settle { at, row: 0, claim, attempt, next: *next });
            batch.answer::<Self>(at, SettledReport::Current);
        }
        if settles.is_empty() {
            return Ok(());
        }
        let rows = batch.row_ids.take(batch.conn, settles.iter().map(|settle| settle.claim)).await?;
        for (settle, row) in settles.iter_mut().zip(rows) {
            settle.row = row;
        }
        let stale = write(batch, &settles).await?;
        for at in &stale {
            batch.answer::<Self>(*at, SettledReport::Stale);
        }
        settles.retain(|settle| settle.next.disables() && !stale.contains(&settle.at));
        disable(batch, &settles).await
    }
}

/// Writes the attempts, and the new states of the reports. Returns the indexes of the operations whose claims are not
/// current.
async fn write(batch: &mut Batch<'_>, settles: &[Settle<'_>]) -> Result<HashSet<usize>, sqlx::Error> {
    let now = batch.now.wall.micros();
    let key: Bind<'_, Settle<'_>> = &|columns, Settle { at, row, claim, .. }| {
        columns.add(*row).add(claim.epoch).add(i64::try_from(*at).unwrap_or(i64::MAX));
    };
    let attempt: Bind<'_, Settle<'_>> = &|columns, Settle { row, claim, attempt, .. }| {
        let took = i64::try_from(attempt.took.as_micros()).unwrap_or(i64::MAX);
        columns.add(*row).add(claim.epoch).add(attempt.started.micros()).add(took);
        columns.add(attempt.status.map(i64::from)).add(attempt.error.as_deref()).add(&*attempt.response);
    };
    let end: Bind<'_, Settle<'_>> = &|columns, Settle { row, claim, next, .. }| {
        let (due, finished) = match next {
            Next::RetryAt(due) => (Some(due.micros()), None),
            Next::Delivered | Next::DeliveredLast | Next::Dead | Next::Refused | Next::Gone { .. } => (None, Some(now)),
        };
        columns.add(*row).add(claim.epoch).add(ReportState::after(*next).code()).add(due).add(finished);
    };
    let stale = SETTLE.fetch(batch.conn, settles, [key, attempt, end]).await?;
    stale.iter().map(|row| Ok(usize::try_from(row.try_get::<i64, _>(0)?).unwrap_or(usize::MAX))).collect()
}

/// Disables the URLs whose receivers want no more reports there.
async fn disable(batch: &mut Batch<'_>, settles: &[Settle<'_>]) -> Result<(), sqlx::Error> {
    if settles.is_empty() {
        return Ok(());
    }
    let reports = settles.iter().map(|Settle { at, claim, attempt, .. }| {
        (hex(claim.id.as_bytes()), *at, attempt.error.as_deref().unwrap_or_default())
    });
    let list = json(&reports.collect::<Vec<_>>())?;
    let sql = "SELECT j.value ->> 1, b.url FROM json_each(?1) AS j \
               CROSS JOIN report AS r ON r.id = unhex(j.value ->> 0) CROSS JOIN report_body AS b ON b.seq = r.seq";
    for row in query(sql).bind(&list).fetch_all(&mut *batch.conn).await? {
        let at = usize::try_from(row.try_get::<i64, _>(0)?).unwrap_or(usize::MAX);
        batch.answer::<SettleReport>(at, SettledReport::Disabled(row.try_get(1)?));
    }
    let sql = "INSERT INTO disabled (url, since, reason) SELECT b.url, ?2, j.value ->> 2 \
               FROM json_each(?1) AS j \
               CROSS JOIN report AS r ON r.id = unhex(j.value ->> 0) CROSS JOIN report_body AS b ON b.seq = r.seq \
               WHERE true ON CONFLICT (url) DO NOTHING";
    query(sql).bind(&list).bind(batch.now.wall.micros()).execute(&mut *batch.conn).await.map(drop)
}
