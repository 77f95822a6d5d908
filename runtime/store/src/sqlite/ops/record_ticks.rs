//! Records when schedules were last due.

use super::Apply;
use crate::ops::RecordTicks;
use crate::sqlite::Batch;
use crate::sqlite::codec::json;
use crate::sqlite::statement::query;

impl Apply for RecordTicks {
    fn apply(batch: &mut Batch<'_>) -> Result<(), rusqlite::Error> {
        for (at, Self(ticks)) in batch.of::<Self>() {
            let ticks: Vec<(&str, i64)> = ticks.iter().map(|(name, last)| (&**name, last.micros())).collect();
            let sql = "INSERT INTO schedule (name, last) SELECT value ->> 0, value ->> 1 FROM json_each(?1) WHERE true \
                       ON CONFLICT (name) DO UPDATE SET last = max(last, excluded.last)";
            query(sql).bind(json(&ticks)?).execute(batch.conn)?;
            batch.answer::<Self>(at, ());
        }
        Ok(())
    }
}
