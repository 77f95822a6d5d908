//! What several kinds of operations do with the tables of reports.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::params;
use serde::Serialize;

use super::Batch;
use super::codec::{blob, json, own_from_columns, own_to_columns, report_id, report_state, small, webhook_id};
use super::statement::{Row, query, statement};
use super::states::ReportState;
use crate::operation::Outgoing;
use crate::ops::Kind;
use crate::record::{ClaimedReport, NewReport, ReportClaim, Settled};
use postback_wire::id::ReportId;
use postback_wire::line::hex;
use postback_wire::time::Timestamp;
use postback_wire::webhook::Target;

const REPORT: &str = "INSERT INTO report \
    (seq, id, subject, state, due, epoch, attempt, node, created, finished, refused, origin) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
const BODY: &str = "INSERT INTO report_body (seq, url, headers, secret, body, by_operator) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

/// Writes the reports that the operations of the batch send, in the order of the operations.
pub(super) fn write(batch: &mut Batch<'_>) -> Result<(), rusqlite::Error> {
    let mut outgoing = std::mem::take(&mut batch.outgoing);
    // The sort is stable, so the reports of one operation keep their order.
    outgoing.sort_by_key(|(at, _)| *at);
    if outgoing.is_empty() {
        return Ok(());
    }
    let (conn, node, now) = (batch.conn, batch.start.node, batch.now);
    let (mut write, mut write_body) = (statement(conn, REPORT)?, statement(conn, BODY)?);
    for (_, Outgoing { report, room }) in outgoing {
        batch.start.last_report += 1;
        let (seq, refused) = (batch.start.last_report, report.refused.is_some());
        let is_pre_claimed = room.is_some() && !refused;
        let state = match (refused, is_pre_claimed) {
            (true, _) => ReportState::Refused,
            (false, true) => ReportState::Delivering,
            (false, false) => ReportState::Pending,
        };
        if is_pre_claimed {
            batch.report_rows.claimed(report.id, seq);
        }
        let (epoch, attempt) = (is_pre_claimed, is_pre_claimed);
        write.execute(params![
            seq,
            &report.id.as_bytes()[..],
            &*report.subject,
            state.code(),
            now.due.micros(),
            epoch,
            attempt,
            is_pre_claimed.then_some(node),
            report.created.micros(),
            refused.then_some(now.wall.micros()),
            report.refused.as_deref(),
            report.to.origin(),
        ])?;
        let own = report.to.webhook().map(|webhook| own_to_columns(webhook.own()));
        let (headers, secret, by_operator) = own.unwrap_or_default();
        write_body.execute(params![seq, report.to.url(), headers, secret, &*report.body, by_operator])?;
    }
    Ok(())
}

/// Makes claimed reports that were not attempted wait again. `row` returns the claim of an operation, and a third value
/// for the statement. The statement receives the time, and a list of ids, epochs and third values. The statement
/// returns the ids and the new states of the reports whose claims were current. `answer` makes the answer to an
/// operation from the new state. The state is `None` if the claim was stale.
pub(super) fn put_back<'a, K: Kind + 'a, T: Serialize>(
    batch: &mut Batch<'a>,
    sql: &'static str,
    row: impl Fn(&'a K) -> (&'a ReportClaim, T),
    answer: impl Fn(Option<ReportState>) -> K::Answer,
) -> Result<(), rusqlite::Error> {
    let mut by_id: HashMap<ReportId, usize> = HashMap::new();
    let mut list = Vec::new();
    for (at, op) in batch.of::<K>() {
        let (claim, third) = row(op);
        list.push((hex(claim.id.as_bytes()), claim.epoch, third));
        by_id.insert(claim.id, at);
        batch.report_rows.over(&claim.id);
        batch.answer::<K>(at, answer(None));
    }
    if list.is_empty() {
        return Ok(());
    }
    let update = query(sql).bind(json(&list)?).bind(batch.now.due.micros());
    for row in update.fetch_all(batch.conn)? {
        if let Some(at) = by_id.get(&report_id(row.try_get(0)?)?) {
            let state = report_state(&row, 1)?;
            batch.answer::<K>(*at, answer(Some(state)));
        }
    }
    Ok(())
}

/// Makes the answer to an operation that makes a report wait again. If `state` is `None`, the claim was stale.
pub(super) fn settled(state: Option<ReportState>) -> Settled {
    if state.is_some() { Settled::Current } else { Settled::Stale }
}

/// Reads the bodies of claimed rows, which an `UPDATE … RETURNING` has returned. Returns the reports in the order of
/// their due times. The columns of `rows` are `due, seq, id, subject, epoch, attempt, created`.
pub(super) fn claimed(batch: &mut Batch<'_>, mut rows: Vec<Row>) -> Result<Vec<ClaimedReport>, rusqlite::Error> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    // The rows are sorted here, because `RETURNING` returns them in no particular order.
    rows.sort_by_key(|row| (row.try_get::<i64>(0).unwrap_or(0), row.try_get::<i64>(1).unwrap_or(0)));
    let seqs = rows.iter().map(|row| row.try_get::<i64>(1)).collect::<Result<Vec<_>, _>>()?;
    let sql = "SELECT seq, url, headers, secret, body, webhook_id, by_operator FROM report_body \
               WHERE seq IN (SELECT value FROM json_each(?1))";
    let bodies = query(sql).bind(json(&seqs)?).fetch_all(batch.conn)?;
    let bodies = bodies.into_iter().map(|row| Ok((row.try_get::<i64>(0)?, row)));
    let bodies = bodies.collect::<Result<HashMap<_, _>, rusqlite::Error>>()?;
    let one = |row: Row| {
        let body = bodies.get(&row.try_get::<i64>(1)?).ok_or(rusqlite::Error::QueryReturnedNoRows)?;
        let id = report_id(row.try_get(2)?)?;
        let report = NewReport {
            id,
            subject: row.try_get::<&str>(3)?.into(),
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
    let rows = rows.into_iter().map(one).collect::<Result<Vec<_>, rusqlite::Error>>()?;
    for (row, seq) in rows.iter().zip(seqs) {
        batch.report_rows.claimed(row.claim.id, seq);
    }
    Ok(rows)
}
