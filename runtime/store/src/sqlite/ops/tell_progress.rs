//! Stores how far running requests have come.

use rusqlite::{OptionalExtension as _, params};

use super::Apply;
use crate::ops::TellProgress;
use crate::sqlite::Batch;
use crate::sqlite::statement::statement;
use crate::sqlite::states::sql;

impl Apply for TellProgress {
    fn apply(batch: &mut Batch<'_>) -> Result<(), rusqlite::Error> {
        let mut all = batch.of::<Self>().peekable();
        if all.peek().is_none() {
            return Ok(());
        }
        let sql = sql!(
            "INSERT INTO run_progress (request, epoch, sequence, fraction, message, detail, at) \
             SELECT seq, epoch, 1, ?3, ?4, ?5, ?6 FROM request WHERE id = ?1 AND epoch = ?2 AND state = {running} \
             ON CONFLICT (request) DO UPDATE SET epoch = excluded.epoch, sequence = sequence + 1, \
             fraction = excluded.fraction, message = excluded.message, detail = excluded.detail, at = excluded.at \
             RETURNING sequence"
        );
        let mut write = statement(batch.conn, sql)?;
        for (at, Self { claim, told }) in all {
            let detail = told.detail.as_ref().map(|detail| &detail.bytes()[..]);
            let values = params![claim.id.as_str(), claim.epoch, told.fraction, told.message, detail, told.at.micros()];
            let sequence = write.query_row(values, |row| row.get::<_, i64>(0)).optional()?;
            batch.answer::<Self>(at, sequence.map(|sequence| u64::try_from(sequence).unwrap_or(0)));
        }
        Ok(())
    }
}
