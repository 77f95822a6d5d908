//! Adds tokens.

use super::Apply;
use super::write_audit::write_audit;
use crate::ops::AddToken;
use crate::postgres::Batch;
use crate::postgres::codec::storable;
use crate::postgres::statement::{query, query_scalar};
use crate::tokens::{MOST_TOKENS, TokenAdded};
use postback_wire::time::Timestamp;

impl Apply for AddToken {
    async fn apply(batch: &mut Batch<'_>) -> Result<(), sqlx::Error> {
        for (at, Self(both)) in batch.of::<Self>() {
            let (token, audit) = &**both;
            let sql = "SELECT count(*) FROM token WHERE revoked IS NULL";
            let known: i64 = query_scalar(sql).fetch_one(&mut *batch.conn).await?;
            if usize::try_from(known).is_ok_and(|known| known >= MOST_TOKENS) {
                batch.answer::<Self>(at, TokenAdded::TooMany(MOST_TOKENS));
                continue;
            }
            let sql = "INSERT INTO token (id, name, hash, terms, created, expires) VALUES ($1, $2, $3, $4, $5, $6) \
                       ON CONFLICT DO NOTHING";
            let add = query(sql).bind(&token.id).bind(storable(&token.name)).bind(token.hash.as_slice());
            let add = add.bind(storable(&token.terms)).bind(token.created.micros());
            let add = add.bind(token.expires.map(Timestamp::micros));
            if add.execute(&mut *batch.conn).await?.rows_affected() == 0 {
                batch.answer::<Self>(at, TokenAdded::NameTaken);
                continue;
            }
            write_audit(batch.conn, audit, batch.now.wall).await?;
            batch.answer::<Self>(at, TokenAdded::Added);
        }
        Ok(())
    }
}
