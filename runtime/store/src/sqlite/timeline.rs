//! Reads the timeline of a request. One transaction reads all of it, so that it shows one moment.

use super::codec::{misread, small};
use super::statement::{Row, query};
use super::{progress, summary};
use crate::summary::Stage;
use crate::timeline::{EarlierRun, RUNS, RunEnd, Timeline};
use postback_wire::id::RequestId;
use postback_wire::time::Timestamp;
use rusqlite::Connection;

pub(super) fn timeline(conn: &Connection, id: &RequestId) -> Result<Option<Timeline>, rusqlite::Error> {
    let transaction = conn.unchecked_transaction()?;
    let Some(summary) = summary::summary(&transaction, id)? else { return Ok(None) };
    let sql = "SELECT r.seq, r.created, r.started, r.epoch, p.epoch, p.sequence, p.fraction, p.message, p.detail, p.at \
               FROM request AS r LEFT JOIN run_progress AS p ON p.request = r.seq WHERE r.id = ?1";
    let row = query(sql).bind(id.as_str()).fetch_one(&transaction)?;
    let sql = "SELECT epoch, started, ended, end, detail FROM run WHERE request = ?1 ORDER BY epoch DESC LIMIT ?2";
    let runs = query(sql).bind(row.try_get::<i64>(0)?).bind(i64::try_from(RUNS).unwrap_or(i64::MAX));
    let runs = runs.fetch_all(&transaction)?;
    transaction.commit()?;
    let started = row.try_get::<Option<i64>>(2)?.map(Timestamp::from_micros);
    Ok(Some(Timeline {
        created: Timestamp::from_micros(row.try_get(1)?),
        runs: runs.iter().rev().map(run).collect::<Result<_, _>>()?,
        epoch: small(&row, 3)?,
        started: started.filter(|_| !matches!(summary.stage, Stage::Queued)),
        progress: progress::read(&row, 4)?,
        summary,
    }))
}

fn run(row: &Row) -> Result<EarlierRun, rusqlite::Error> {
    Ok(EarlierRun {
        epoch: small(row, 0)?,
        started: Timestamp::from_micros(row.try_get(1)?),
        ended: Timestamp::from_micros(row.try_get(2)?),
        end: RunEnd::parse(row.try_get(3)?).ok_or_else(|| misread("a run has an unknown end"))?,
        detail: row.try_get(4)?,
    })
}
