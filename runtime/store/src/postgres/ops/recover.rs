//! Recovers the rows that nodes had claimed which are over.

use sqlx::Row as _;

use super::Apply;
use crate::nodes::Recovered;
use crate::ops::Recover;
use crate::postgres::Batch;
use crate::postgres::codec::small;
use crate::postgres::members::{self, Around};
use crate::postgres::requests::{CLAIMED, claimed};
use crate::postgres::statement::query;
use crate::record::ClaimedRequest;
use crate::sql::states::sql;
use crate::timeline::RunEnd;

/// The error text of an attempt that was under way when its process ended.
const UNKNOWN: &str = "outcome unknown: the process ended during the attempt";

impl Apply for Recover {
    async fn apply(batch: &mut Batch<'_>) -> Result<(), sqlx::Error> {
        for (at, op) in batch.of::<Self>() {
            let Around { others, behind } = members::look_around(batch).await?;
            let nodes = members::left_behind(batch).await?;
            let mut recovered = Recovered { others, behind, ended: nodes.len(), ..Recovered::default() };
            if !nodes.is_empty() {
                let Orphans { requeued, lost } = orphans(batch, &nodes, op.max_crashes).await?;
                let count = |rows: u64| usize::try_from(rows).unwrap_or(usize::MAX);
                recovered.requests = count(requeue(batch, requeued).await?);
                recovered.lost = take_over(batch, lost).await?;
                recovered.reports = count(put_back_reports(batch, &nodes).await?);
                members::emptied(batch, &nodes).await?;
            }
            batch.answer::<Self>(at, recovered);
        }
        Ok(())
    }
}

/// Requests that earlier processes had claimed: the numbers of their rows.
#[derive(Default)]
struct Orphans {
    requeued: Vec<i64>,
    /// The requests that are not run again, because they had too many crashes or were cancelled.
    lost: Vec<i64>,
}

/// Finds the requests that these nodes had claimed. The nodes are over, so they cannot use their claims any more. It is
/// not known which of their runs had begun, so each claim counts as a crash.
async fn orphans(batch: &mut Batch<'_>, nodes: &[i64], max_crashes: u32) -> Result<Orphans, sqlx::Error> {
    let sql = sql!("SELECT seq, crashes, cancel FROM request WHERE state = {running} AND node = ANY($1)");
    let mut orphans = Orphans::default();
    for row in query(sql).bind(nodes).fetch_all(&mut *batch.conn).await? {
        let is_lost = row.try_get(2)? || small(&row, 1)?.saturating_add(1) >= max_crashes;
        let rows = if is_lost { &mut orphans.lost } else { &mut orphans.requeued };
        rows.push(row.try_get(0)?);
    }
    Ok(orphans)
}

async fn requeue(batch: &mut Batch<'_>, rows: Vec<i64>) -> Result<u64, sqlx::Error> {
    let sql = sql!(
        "WITH w AS (INSERT INTO run (request, epoch, started, ended, how) \
             SELECT seq, epoch, coalesce(started, created), $2, $3 FROM request WHERE seq = ANY($1) \
             ON CONFLICT DO NOTHING) \
         UPDATE request SET state = {queued}, node = NULL, started = NULL, due = $4, crashes = crashes + 1 \
         WHERE seq = ANY($1)"
    );
    let requeue = query(sql).bind(rows).bind(batch.now.wall.micros()).bind(RunEnd::Lost.as_str());
    Ok(requeue.bind(batch.now.due.micros()).execute(&mut *batch.conn).await?.rows_affected())
}

/// Claims these requests for this process, so that this process can settle the requests.
async fn take_over(batch: &mut Batch<'_>, rows: Vec<i64>) -> Result<Vec<ClaimedRequest>, sqlx::Error> {
    let sql = sql!(
        "UPDATE request AS r SET epoch = r.epoch + 1, node = $2, crashes = r.crashes + 1 \
         FROM request_body AS b LEFT JOIN registration AS g ON g.seq = b.seq \
         WHERE r.seq = ANY($1) AND b.seq = r.seq RETURNING ",
        CLAIMED!("false")
    );
    claimed(query(sql).bind(rows).bind(batch.start.node).fetch_all(&mut *batch.conn).await?)
}

/// Makes all reports pending again that these nodes were delivering. Adds an attempt with an unknown outcome to each of
/// these reports. Returns the number of these reports.
async fn put_back_reports(batch: &mut Batch<'_>, nodes: &[i64]) -> Result<u64, sqlx::Error> {
    let sql = sql!(
        "WITH w AS (INSERT INTO attempt (report, n, epoch, started, took, error, response) \
             SELECT seq, attempt, epoch, $2, 0, $3, '' FROM report WHERE state = {delivering} AND node = ANY($1)) \
         UPDATE report SET state = {pending}, node = NULL, due = $4 WHERE state = {delivering} AND node = ANY($1)"
    );
    let put_back = query(sql).bind(nodes).bind(batch.now.wall.micros()).bind(UNKNOWN);
    Ok(put_back.bind(batch.now.due.micros()).execute(&mut *batch.conn).await?.rows_affected())
}
