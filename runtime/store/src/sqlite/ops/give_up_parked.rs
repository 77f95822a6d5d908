//! Gives up parked reports that are too old.

use super::Apply;
use crate::ops::GiveUpParked;
use crate::parked::TOO_OLD;
use crate::sqlite::Batch;
use crate::sqlite::codec::report_id;
use crate::sqlite::statement::query;
use crate::sqlite::states::sql;

impl Apply for GiveUpParked {
    fn apply(batch: &mut Batch<'_>) -> Result<(), rusqlite::Error> {
        for (at, Self { before, limit }) in batch.of::<Self>() {
            let sql = sql!(
                "UPDATE report SET state = {dead}, finished = ?1, refused = ?2 WHERE seq IN \
                 (SELECT seq FROM report WHERE state = {parked} AND created < ?3 ORDER BY created, seq LIMIT ?4) \
                 RETURNING id"
            );
            let update = query(sql).bind(batch.now.wall.micros()).bind(TOO_OLD).bind(before.micros());
            let update = update.bind(i64::try_from(*limit).unwrap_or(i64::MAX));
            let rows = update.fetch_all(batch.conn)?;
            let dead = rows.iter().map(|row| report_id(row.try_get(0)?)).collect::<Result<_, rusqlite::Error>>()?;
            batch.answer::<Self>(at, dead);
        }
        Ok(())
    }
}
