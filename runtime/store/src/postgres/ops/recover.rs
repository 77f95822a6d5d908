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

/// The numbers of rows of requests that nodes had claimed which are over. One list for those that have one more crash
/// now, and one for the others.
#[derive(Default)]
struct Rows {
    crashed: Vec<i64>,
    others: Vec<i64>,
}

/// Requests that nodes had claimed which are over.
#[derive(Default)]
struct Orphans {
    requeued: Rows,
    /// The requests that are not run again, because they had too many crashes or were cancelled.
    lost: Rows,
}

/// A mark is written with the next transaction after a run begins, so a run can end its process before its mark is
/// written. Therefore each claim with such a number counts as a crash in any case. So a request whose runs end their
/// process at once does not run for ever. A request that only waited is rarely counted.
const COUNTS: i64 = 3;

/// Finds the requests that these nodes had claimed. The nodes are over, so they cannot use their claims any more. A
/// crash counts against those whose runs had begun.
async fn orphans(batch: &mut Batch<'_>, nodes: &[i64], max_crashes: u32) -> Result<Orphans, sqlx::Error> {
    let sql = sql!(
        "SELECT seq, crashes, cancel, coalesce(begun = epoch, false) OR epoch % $2 = 0 FROM request \
         WHERE state = {running} AND node = ANY($1)"
    );
    let mut orphans = Orphans::default();
    for row in query(sql).bind(nodes).bind(COUNTS).fetch_all(&mut *batch.conn).await? {
        let has_crashed: bool = row.try_get(3)?;
        let crashes = small(&row, 1)?.saturating_add(u32::from(has_crashed));
        let is_lost = row.try_get(2)? || crashes >= max_crashes;
        let Rows { crashed, others } = if is_lost { &mut orphans.lost } else { &mut orphans.requeued };
        if has_crashed { crashed } else { others }.push(row.try_get(0)?);
    }
    Ok(orphans)
}

async fn requeue(batch: &mut Batch<'_>, Rows { crashed, others }: Rows) -> Result<u64, sqlx::Error> {
    let sql = sql!(
        "WITH w AS (INSERT INTO run (request, epoch, started, ended, how) \
             SELECT seq, epoch, coalesce(started, created), $3, $4 FROM request WHERE seq = ANY($1::bigint[]) \
             ON CONFLICT DO NOTHING) \
         UPDATE request SET state = {queued}, node = NULL, started = NULL, due = $5, \
             crashes = crashes + (seq = ANY($1::bigint[]))::integer WHERE seq = ANY($1::bigint[] || $2::bigint[])"
    );
    let requeue = query(sql).bind(crashed).bind(others).bind(batch.now.wall.micros()).bind(RunEnd::Lost.as_str());
    Ok(requeue.bind(batch.now.due.micros()).execute(&mut *batch.conn).await?.rows_affected())
}

/// Claims these requests for this process, so that this process can settle the requests.
async fn take_over(batch: &mut Batch<'_>, Rows { crashed, others }: Rows) -> Result<Vec<ClaimedRequest>, sqlx::Error> {
    let sql = sql!(
        "UPDATE request AS r SET epoch = r.epoch + 1, node = $3, crashes = r.crashes + (r.seq = ANY($1::bigint[]))::integer \
         FROM request_body AS b LEFT JOIN registration AS g ON g.seq = b.seq \
         WHERE r.seq = ANY($1::bigint[] || $2::bigint[]) AND b.seq = r.seq RETURNING ",
        CLAIMED!("false")
    );
    claimed(query(sql).bind(crashed).bind(others).bind(batch.start.node).fetch_all(&mut *batch.conn).await?)
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
