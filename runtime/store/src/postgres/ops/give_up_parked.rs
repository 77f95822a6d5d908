//! Gives up parked reports that are too old.

use super::Apply;
use crate::ops::GiveUpParked;
use crate::parked::TOO_OLD;
use crate::postgres::Batch;
use crate::postgres::codec::{limit, report_id};
use crate::postgres::statement::query;
use crate::sql::states::sql;

impl Apply for GiveUpParked {
    async fn apply(batch: &mut Batch<'_>) -> Result<(), sqlx::Error> {
        for (at, Self { before, limit: most }) in batch.of::<Self>() {
            let sql = sql!(
                "UPDATE report SET state = {dead}, finished = $1, refused = $2 WHERE seq IN \
                 (SELECT seq FROM report WHERE state = {parked} AND created < $3 ORDER BY created, seq LIMIT $4 \
                  FOR UPDATE SKIP LOCKED) \
                 RETURNING id"
            );
            let update = query(sql).bind(batch.now.wall.micros()).bind(TOO_OLD).bind(before.micros());
            let rows = update.bind(limit(*most)).fetch_all(&mut *batch.conn).await?;
            let dead = rows.iter().map(|row| report_id(row, 0)).collect::<Result<_, sqlx::Error>>()?;
            batch.answer::<Self>(at, dead);
        }
        Ok(())
    }
}
