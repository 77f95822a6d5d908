//! Adds tokens.

use super::Apply;
use super::write_audit::write_audit;
use crate::ops::AddToken;
use crate::sqlite::Batch;
use crate::sqlite::statement::{query, query_scalar};
use crate::tokens::{MOST_TOKENS, TokenAdded};
use postback_wire::time::Timestamp;

impl Apply for AddToken {
    fn apply(batch: &mut Batch<'_>) -> Result<(), rusqlite::Error> {
        for (at, Self(both)) in batch.of::<Self>() {
            let (token, audit) = &**both;
            let sql = "SELECT count(*) FROM token WHERE revoked IS NULL";
            let known: i64 = query_scalar(sql).fetch_one(batch.conn)?;
            if usize::try_from(known).is_ok_and(|known| known >= MOST_TOKENS) {
                batch.answer::<Self>(at, TokenAdded::TooMany(MOST_TOKENS));
                continue;
            }
            let sql = "INSERT INTO token (id, name, hash, terms, created, expires) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
                       ON CONFLICT DO NOTHING";
            let add = query(sql).bind(&token.id).bind(&token.name).bind(token.hash.as_slice()).bind(&token.terms);
            let add = add.bind(token.created.micros()).bind(token.expires.map(Timestamp::micros));
            if add.execute(batch.conn)? == 0 {
                batch.answer::<Self>(at, TokenAdded::NameTaken);
                continue;
            }
            write_audit(batch.conn, audit, batch.now.wall)?;
            batch.answer::<Self>(at, TokenAdded::Added);
        }
        Ok(())
    }
}
