//! Records when schedules were last due.

use super::Apply;
use crate::ops::RecordTicks;
use crate::postgres::Batch;
use crate::postgres::codec::storable;
use crate::postgres::statement::query;

impl Apply for RecordTicks {
    async fn apply(batch: &mut Batch<'_>) -> Result<(), sqlx::Error> {
        for (at, Self(ticks)) in batch.of::<Self>() {
            let (names, last): (Vec<String>, Vec<i64>) =
                ticks.iter().map(|(name, last)| (storable(name).into_owned(), last.micros())).unzip();
            let sql = "INSERT INTO schedule AS s (name, last) SELECT * FROM unnest($1::text[], $2::bigint[]) \
                       ON CONFLICT (name) DO UPDATE SET last = greatest(s.last, excluded.last)";
            query(sql).bind(names).bind(last).execute(&mut *batch.conn).await?;
            batch.answer::<Self>(at, ());
        }
        Ok(())
    }
}
