//! Records when tokens were last used.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::Apply;
use crate::ops::UseTokens;
use crate::postgres::Batch;
use crate::postgres::codec::storable;
use crate::postgres::statement::query;

impl Apply for UseTokens {
    async fn apply(batch: &mut Batch<'_>) -> Result<(), sqlx::Error> {
        for (at, Self(uses)) in batch.of::<Self>() {
            // A statement with `ON CONFLICT DO UPDATE` may name each row only once.
            let mut last: BTreeMap<Cow<'_, str>, i64> = BTreeMap::new();
            for (id, used) in uses {
                let last = last.entry(storable(id)).or_insert(i64::MIN);
                *last = used.micros().max(*last);
            }
            let (ids, used): (Vec<String>, Vec<i64>) =
                last.into_iter().map(|(id, used)| (id.into_owned(), used)).unzip();
            let sql = "INSERT INTO token_use AS u (id, used) SELECT * FROM unnest($1::text[], $2::bigint[]) \
                       ON CONFLICT (id) DO UPDATE SET used = greatest(u.used, excluded.used)";
            query(sql).bind(ids).bind(used).execute(&mut *batch.conn).await?;
            batch.answer::<Self>(at, ());
        }
        Ok(())
    }
}
