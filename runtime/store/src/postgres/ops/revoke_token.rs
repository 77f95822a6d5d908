//! Revokes tokens.

use super::Apply;
use super::write_audit::write_audit;
use crate::ops::RevokeToken;
use crate::postgres::Batch;
use crate::postgres::codec::limit;
use crate::postgres::statement::{query, query_scalar};
use crate::tokens::{MOST_TOKENS, TokenRevoked};
use postback_wire::time::Timestamp;

impl Apply for RevokeToken {
    async fn apply(batch: &mut Batch<'_>) -> Result<(), sqlx::Error> {
        for (at, Self { id, audit }) in batch.of::<Self>() {
            let now = batch.now.wall;
            let sql = "UPDATE token SET revoked = $2 WHERE id = $1 AND revoked IS NULL";
            let revoked = query(sql).bind(id).bind(now.micros()).execute(&mut *batch.conn).await?.rows_affected();
            if revoked == 0 {
                let sql = "SELECT revoked FROM token WHERE id = $1";
                let before: Option<i64> = query_scalar(sql).bind(id).fetch_optional(&mut *batch.conn).await?;
                let before = before.map(|at| TokenRevoked::At(Timestamp::from_micros(at)));
                batch.answer::<Self>(at, before.unwrap_or(TokenRevoked::Unknown));
                continue;
            }
            let sql = "DELETE FROM token WHERE seq IN (SELECT seq FROM token WHERE revoked IS NOT NULL \
                       ORDER BY revoked DESC OFFSET $1)";
            query(sql).bind(limit(MOST_TOKENS)).execute(&mut *batch.conn).await?;
            write_audit(batch.conn, audit, now).await?;
            batch.answer::<Self>(at, TokenRevoked::At(now));
        }
        Ok(())
    }
}
