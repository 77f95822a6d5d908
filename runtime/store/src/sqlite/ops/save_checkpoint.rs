//! Stores the checkpoints of running requests.

use rusqlite::params;

use super::Apply;
use crate::checkpoint::Saved;
use crate::ops::SaveCheckpoint;
use crate::sqlite::Batch;
use crate::sqlite::statement::statement;
use crate::sqlite::states::sql;

impl Apply for SaveCheckpoint {
    fn apply(batch: &mut Batch<'_>) -> Result<(), rusqlite::Error> {
        let mut all = batch.of::<Self>().peekable();
        if all.peek().is_none() {
            return Ok(());
        }
        let sql = sql!(
            "INSERT INTO checkpoint (request, value, saved) \
             SELECT seq, ?3, ?4 FROM request WHERE id = ?1 AND epoch = ?2 AND state = {running} \
             ON CONFLICT (request) DO UPDATE SET value = excluded.value, saved = excluded.saved"
        );
        let mut write = statement(batch.conn, sql)?;
        for (at, Self { claim, value }) in all {
            let written =
                write.execute(params![claim.id.as_str(), claim.epoch, &value[..], batch.now.wall.micros()])?;
            batch.answer::<Self>(at, if written == 0 { Saved::Stale } else { Saved::Yes });
        }
        Ok(())
    }
}
