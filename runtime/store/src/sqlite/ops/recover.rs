//! Recovers the rows that earlier processes had claimed.

use super::Apply;
use crate::nodes::Recovered;
use crate::ops::Recover;
use crate::record::{Claim, ClaimedRequest};
use crate::sqlite::Batch;
use crate::sqlite::codec::{json, small};
use crate::sqlite::requests::claimed;
use crate::sqlite::statement::query;
use crate::sqlite::states::sql;
use crate::timeline::RunEnd;
use postback_wire::id::RequestId;

/// The error text of an attempt that was under way when its process ended.
const UNKNOWN: &str = "outcome unknown: the process ended during the attempt";

impl Apply for Recover {
    fn apply(batch: &mut Batch<'_>) -> Result<(), rusqlite::Error> {
        for (at, op) in batch.of::<Self>() {
            let Orphans { requeued, lost } = orphans(batch, op.max_crashes)?;
            let requests = requeue(batch, &requeued)?;
            let lost = take_over(batch, &lost)?;
            let reports = put_back_reports(batch)?;
            batch.answer::<Self>(at, Recovered { requests, reports, lost, ..Recovered::default() });
            batch.after_commit.recovered = true;
        }
        Ok(())
    }
}

/// The number of a row, the new number of crashes of the request, and whether its run had begun (0 or 1).
type Orphan = (i64, u32, u32);

/// The requests that earlier processes had claimed.
#[derive(Default)]
struct Orphans {
    requeued: Vec<Orphan>,
    /// The requests that are not run again, because they had too many crashes or were cancelled.
    lost: Vec<Orphan>,
}

/// Finds the requests that earlier processes had claimed. Only one process at a time owns the database, so no other
/// process still uses its claims. Only a run that had begun counts as a crash.
fn orphans(batch: &mut Batch<'_>, max_crashes: u32) -> Result<Orphans, rusqlite::Error> {
    let sql = sql!("SELECT seq, id, epoch, crashes, cancel FROM request WHERE state = {running} AND node <> ?1");
    let mut orphans = Orphans::default();
    for row in query(sql).bind(batch.start.node).fetch_all(batch.conn)? {
        let claim = Claim { id: RequestId::stored(row.try_get(1)?), epoch: small(&row, 2)? };
        let begun = u32::from(batch.had_begun.is_none_or(|begun| begun.has(&claim)));
        let crashes = small(&row, 3)? + begun;
        let is_lost = row.try_get(4)? || crashes >= max_crashes;
        let rows = if is_lost { &mut orphans.lost } else { &mut orphans.requeued };
        rows.push((row.try_get(0)?, crashes, begun));
    }
    Ok(orphans)
}

fn requeue(batch: &mut Batch<'_>, rows: &[Orphan]) -> Result<usize, rusqlite::Error> {
    let sql = "INSERT OR IGNORE INTO run (request, epoch, started, ended, end) \
               SELECT seq, epoch, coalesce(started, created), ?2, ?3 FROM request \
               WHERE seq IN (SELECT value ->> 0 FROM json_each(?1) WHERE value ->> 2)";
    let lost = query(sql).bind(json(rows)?).bind(batch.now.wall.micros()).bind(RunEnd::Lost.as_str());
    lost.execute(batch.conn)?;
    let sql = sql!(
        "UPDATE request SET state = {queued}, node = NULL, started = NULL, due = ?2, crashes = j.value ->> 1 \
         FROM json_each(?1) AS j WHERE request.seq = j.value ->> 0"
    );
    let requeue = query(sql).bind(json(rows)?).bind(batch.now.due.micros());
    requeue.execute(batch.conn)
}

/// Claims these requests for this process, so that this process can settle the requests.
fn take_over(batch: &mut Batch<'_>, rows: &[Orphan]) -> Result<Vec<ClaimedRequest>, rusqlite::Error> {
    let sql = "UPDATE request SET epoch = epoch + 1, node = ?2, crashes = j.value ->> 1 \
               FROM json_each(?1) AS j WHERE request.seq = j.value ->> 0 \
               RETURNING due, request.seq, request.id, route, epoch, failures, crashes, created, cancel, owner, priority, \
               timeout, extras, 0";
    let rows = query(sql).bind(json(rows)?).bind(batch.start.node).fetch_all(batch.conn)?;
    claimed(batch.conn, rows)
}

/// Makes all reports pending again that earlier processes were delivering. Adds an attempt with an unknown outcome to
/// each of these reports. Returns the number of these reports.
fn put_back_reports(batch: &mut Batch<'_>) -> Result<usize, rusqlite::Error> {
    let node = batch.start.node;
    let sql = sql!(
        "INSERT INTO attempt (report, n, epoch, started, took, error, response) \
         SELECT seq, attempt, epoch, ?2, 0, ?3, x'' FROM report WHERE state = {delivering} AND node <> ?1"
    );
    query(sql).bind(node).bind(batch.now.wall.micros()).bind(UNKNOWN).execute(batch.conn)?;
    let sql =
        sql!("UPDATE report SET state = {pending}, node = NULL, due = ?2 WHERE state = {delivering} AND node <> ?1");
    let put_back = query(sql).bind(node).bind(batch.now.due.micros());
    put_back.execute(batch.conn)
}
