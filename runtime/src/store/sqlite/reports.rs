//! The tables of reports: write, claim, settle.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::Serialize;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::bulk::Bind;
use super::codec::{
    CLAIM_BYTES, HELD, REFUSED, blob, first_of, hex, json, misread, next_code, own_from_columns, own_to_columns, small,
};
use super::statement::{query, query_scalar};
use super::{Batch, parked};
use crate::id::ReportId;
use crate::store::operation::{Op, Outgoing, Reply};
use crate::store::record::{self, Attempt, ClaimedReport, NewReport, Next, ReportClaim, Settled};
use crate::time::Timestamp;
use crate::webhook::Target;

/// Writes what is posted, and the reports of those settlements that are among `current`.
pub(super) async fn write(batch: &mut Batch<'_>, current: &HashSet<usize>) -> Result<(), sqlx::Error> {
    let written = |(at, op): &(usize, &&Op)| match op {
        Op::Post { .. } => true,
        _ => current.contains(at),
    };
    let reports = batch.ops.iter().enumerate().filter(written).flat_map(|(_, op)| op.reports());
    let rows: Vec<(i64, &Outgoing)> = (batch.start.last_report + 1..).zip(reports).collect();
    let Some((last, _)) = rows.last() else { return Ok(()) };
    batch.start.last_report = *last;
    for (seq, outgoing) in rows.iter().filter(|(_, outgoing)| outgoing.is_born_claimed()) {
        batch.row_ids.claimed(outgoing.report.id, *seq);
    }
    let (node, now) = (batch.start.node, batch.now);
    let report: Bind<'_, (i64, &Outgoing)> = &|columns, (seq, outgoing)| {
        let (report, refused) = (&outgoing.report, outgoing.report.refused.is_some());
        let born = outgoing.is_born_claimed() && !refused;
        let state = if refused { REFUSED } else { i64::from(born) };
        columns.add(*seq).add(&report.id.as_bytes()[..]).add(&*report.subject).add(state);
        columns.add(now.due.micros()).add(i64::from(born)).add(i64::from(born)).add(born.then_some(node));
        columns.add(report.created.micros()).add(refused.then_some(now.wall.micros())).add(report.refused.as_deref());
        columns.add(report.to.origin());
    };
    let body: Bind<'_, (i64, &Outgoing)> = &|columns, (seq, Outgoing { report, .. })| {
        let own = report.to.webhook().map(|webhook| own_to_columns(webhook.own()));
        let (headers, secret, by_operator) = own.unwrap_or_default();
        columns.add(*seq).add(report.to.url()).add(headers).add(secret).add(&*report.body).add(by_operator);
    };
    batch.statements.post.run(batch.conn, &rows, [report, body]).await.map(drop)
}

struct Settle<'a> {
    at: usize,
    row: i64,
    claim: &'a ReportClaim,
    attempt: &'a Attempt,
    next: Next,
}

/// Records attempts, and what becomes of their reports.
pub(super) async fn settle(batch: &mut Batch<'_>) -> Result<(), sqlx::Error> {
    let mut settles = Vec::new();
    for (at, op) in batch.ops.iter().enumerate() {
        if let Op::SettleReport { claim, attempt, next } = op {
            settles.push(Settle { at, row: 0, claim, attempt, next: *next });
            batch.reply(at, Reply::Settled(Settled::Current));
        }
    }
    if settles.is_empty() {
        return Ok(());
    }
    let rows = batch.row_ids.take(batch.conn, settles.iter().map(|settle| settle.claim)).await?;
    for (settle, row) in settles.iter_mut().zip(rows) {
        settle.row = row;
    }
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
            _ => (None, Some(now)),
        };
        columns.add(*row).add(claim.epoch).add(next_code(*next)).add(due).add(finished);
    };
    let mut stale = HashSet::new();
    for row in batch.statements.settle.fetch(batch.conn, &settles, [key, attempt, end]).await? {
        let at = usize::try_from(row.try_get::<i64, _>(0)?).unwrap_or(usize::MAX);
        batch.reply(at, Reply::Settled(Settled::Stale));
        stale.insert(at);
    }
    let disabled = settles.iter().filter(|settle| settle.next.disables() && !stale.contains(&settle.at));
    let disabled: Vec<_> = disabled
        .map(|Settle { at, claim, attempt, .. }| {
            (hex(claim.id.as_bytes()), *at, attempt.error.as_deref().unwrap_or_default())
        })
        .collect();
    parked::disable(batch, &disabled).await
}

/// Puts reports back that were not tried.
pub(super) async fn release(batch: &mut Batch<'_>) -> Result<(), sqlx::Error> {
    let sql = "UPDATE report SET state = 0, node = NULL, due = ifnull(j.due, ?2), attempt = attempt - 1 \
               FROM (SELECT unhex(value ->> 0) AS id, value ->> 1 AS epoch, value ->> 2 AS due FROM json_each(?1)) AS j \
               WHERE report.id = j.id AND report.epoch = j.epoch AND report.state = 1 RETURNING id, state";
    let due = |due: &Option<Timestamp>| due.map(Timestamp::micros);
    put_back(batch, sql, |op| if let Op::ReleaseReport { claim, due: at } = op { Some((claim, due(at))) } else { None })
        .await
}

/// Puts the claimed reports back of which the operations speak. The statement gets their ids and epochs, what else is said of
/// each, and the time; and returns their ids and new states.
pub(super) async fn put_back<'a, T: Serialize>(
    batch: &mut Batch<'a>,
    sql: &'static str,
    of: impl Fn(&'a Op) -> Option<(&'a ReportClaim, T)>,
) -> Result<(), sqlx::Error> {
    let mut row_ids: HashMap<ReportId, usize> = HashMap::new();
    let mut list = Vec::new();
    for (at, op) in batch.ops.iter().enumerate() {
        if let Some((claim, said)) = of(op) {
            list.push((hex(claim.id.as_bytes()), claim.epoch, said));
            row_ids.insert(claim.id, at);
            batch.row_ids.over(claim.id);
            batch.reply(at, Reply::Settled(Settled::Stale));
        }
    }
    if list.is_empty() {
        return Ok(());
    }
    let update = query(sql).bind(json(&list)?).bind(batch.now.due.micros());
    for row in update.fetch_all(&mut *batch.conn).await? {
        if let Some(at) = row_ids.get(&report_id(row.try_get(0)?)?) {
            let held = row.try_get::<i64, _>(1)? == HELD;
            batch.reply(*at, if held { Reply::Held } else { Reply::Settled(Settled::Current) });
        }
    }
    Ok(())
}

pub(super) async fn claim(batch: &mut Batch<'_>) -> Result<(), sqlx::Error> {
    for (at, op) in batch.ops.iter().enumerate() {
        let Op::ClaimReports { limit } = op else { continue };
        let sql = concat!(
            "UPDATE report SET state = 1, epoch = epoch + 1, attempt = attempt + 1, node = ?1 WHERE seq IN (",
            first_of!(
                "SELECT r.due, r.seq, length(b.body) AS size FROM report AS r CROSS JOIN report_body AS b \
                 WHERE b.seq = r.seq AND r.state = 0 AND r.due <= ?2"
            ),
            ") RETURNING due, seq, id, subject, epoch, attempt, created"
        );
        let limit = i64::try_from(*limit).unwrap_or(i64::MAX);
        let claim = query(sql).bind(batch.start.node).bind(batch.now.due.micros()).bind(limit).bind(CLAIM_BYTES);
        let rows = claim.fetch_all(&mut *batch.conn).await?;
        let rows = claimed(batch, rows).await?;
        let sql = "SELECT due FROM report WHERE state = 0 ORDER BY due, seq LIMIT 1";
        let next = query_scalar::<i64>(sql).fetch_optional(&mut *batch.conn).await?;
        batch.reply(at, Reply::Reports(record::Batch { rows, next_due: next.map(Timestamp::from_micros) }));
    }
    Ok(())
}

/// The rows that an `UPDATE … RETURNING` claimed, with their bodies, in the order in which they are due. The columns are `due, seq,
/// id, subject, epoch, attempt, created`.
pub(super) async fn claimed(
    batch: &mut Batch<'_>,
    mut rows: Vec<SqliteRow>,
) -> Result<Vec<ClaimedReport>, sqlx::Error> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    // SQLite returns them in no particular order.
    rows.sort_by_key(|row| (row.try_get::<i64, _>(0).unwrap_or(0), row.try_get::<i64, _>(1).unwrap_or(0)));
    let seqs = rows.iter().map(|row| row.try_get::<i64, _>(1)).collect::<Result<Vec<_>, _>>()?;
    let sql = "SELECT seq, url, headers, secret, body, webhook_id, by_operator FROM report_body \
               WHERE seq IN (SELECT value FROM json_each(?1))";
    let bodies = query(sql).bind(json(&seqs)?).fetch_all(&mut *batch.conn).await?;
    let bodies = bodies.into_iter().map(|row| Ok((row.try_get::<i64, _>(0)?, row)));
    let bodies = bodies.collect::<Result<HashMap<_, _>, sqlx::Error>>()?;
    let one = |row: SqliteRow| {
        let body = bodies.get(&row.try_get::<i64, _>(1)?).ok_or(sqlx::Error::RowNotFound)?;
        let id = report_id(row.try_get(2)?)?;
        let report = NewReport {
            id,
            subject: row.try_get::<&str, _>(3)?.into(),
            to: Target::stored(
                body.try_get(1)?,
                own_from_columns(body.try_get(2)?, body.try_get(3)?, body.try_get(6)?),
            ),
            body: blob(body, 4)?,
            created: Timestamp::from_micros(row.try_get(6)?),
            refused: None,
            note: None,
        };
        let claimed = Arc::new(report).claimed(small(&row, 4)?, small(&row, 5)?);
        Ok(ClaimedReport { webhook_id: webhook_id(body.try_get(5)?, id)?, ..claimed })
    };
    let rows = rows.into_iter().map(one).collect::<Result<Vec<_>, sqlx::Error>>()?;
    for (row, seq) in rows.iter().zip(seqs) {
        batch.row_ids.claimed(row.claim.id, seq);
    }
    Ok(rows)
}

/// What a report is sent under: what is written beside its body, else its own id.
pub(super) fn webhook_id(written: Option<&[u8]>, own: ReportId) -> Result<ReportId, sqlx::Error> {
    written.map_or(Ok(own), report_id)
}

pub(super) fn report_id(bytes: &[u8]) -> Result<ReportId, sqlx::Error> {
    ReportId::from_bytes(bytes).ok_or_else(|| misread("an id of a report has not 16 bytes"))
}
