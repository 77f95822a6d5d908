//! Writes outcomes of requests, and adds the reports about them to the reports that the batch writes.

use rusqlite::params;

use super::Apply;
use crate::ops::SettleRequest;
use crate::record::Settled;
use crate::sqlite::Batch;
use crate::sqlite::codec::reason_to_text;
use crate::sqlite::statement::statement;
use crate::sqlite::states::RequestState;

impl Apply for SettleRequest {
    fn apply(batch: &mut Batch<'_>) -> Result<(), rusqlite::Error> {
        let mut all = batch.of::<Self>().peekable();
        if all.peek().is_none() {
            return Ok(());
        }
        let conn = batch.conn;
        let sql =
            "UPDATE request SET state = ?1, finished = ?2, node = NULL WHERE seq = ?3 AND epoch = ?4 AND state = ?5";
        let mut settle = statement(conn, sql)?;
        let sql = "INSERT INTO outcome (seq, epoch, reason, result, error, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let mut write = statement(conn, sql)?;
        for (at, op) in all {
            let (claim, outcome) = (&op.claim, &op.outcome);
            let from = if op.is_queued() { RequestState::Queued } else { RequestState::Running };
            let (state, finished) = (RequestState::ended(outcome.status).code(), outcome.finished.micros());
            let seq = batch.request_rows.take(conn, &claim.id)?;
            if settle.execute(params![state, finished, seq, claim.epoch, from.code()])? == 0 {
                batch.answer::<Self>(at, Settled::Stale);
                continue;
            }
            let result = outcome.result.as_ref().map(|json| &json.bytes()[..]);
            let error = outcome.error.as_ref().map(|json| &json.bytes()[..]);
            write.execute(params![
                seq,
                claim.epoch,
                &*reason_to_text(outcome),
                result,
                error,
                outcome.detail.as_deref()
            ])?;
            batch.outgoing.extend(op.reports.iter().map(|outgoing| (at, outgoing)));
            batch.answer::<Self>(at, Settled::Current);
        }
        Ok(())
    }
}
