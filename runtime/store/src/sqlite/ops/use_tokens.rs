//! Records when tokens were last used.

use super::Apply;
use crate::ops::UseTokens;
use crate::sqlite::Batch;
use crate::sqlite::codec::json;
use crate::sqlite::statement::query;

impl Apply for UseTokens {
    fn apply(batch: &mut Batch<'_>) -> Result<(), rusqlite::Error> {
        for (at, Self(uses)) in batch.of::<Self>() {
            let uses: Vec<(&str, i64)> = uses.iter().map(|(id, used)| (&**id, used.micros())).collect();
            let sql = "INSERT INTO token_use (id, used) SELECT value ->> 0, value ->> 1 FROM json_each(?1) WHERE true \
                       ON CONFLICT (id) DO UPDATE SET used = max(used, excluded.used)";
            query(sql).bind(json(&uses)?).execute(batch.conn)?;
            batch.answer::<Self>(at, ());
        }
        Ok(())
    }
}
