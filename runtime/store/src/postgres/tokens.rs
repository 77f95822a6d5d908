//! Reads what operators and programs leave in the store: tokens, the ticks of schedules, and the audit.

use std::collections::HashMap;

use sqlx::Row as _;
use sqlx::postgres::{PgPool, PgRow};

use super::statement::query;
use crate::audit::{AuditRecord, NewAudit};
use crate::tokens::TokenRecord;
use postback_wire::time::Timestamp;

pub(super) async fn tokens(pool: &PgPool) -> Result<Vec<TokenRecord>, sqlx::Error> {
    let sql = "SELECT id, name, hash, terms, created, expires, revoked FROM token ORDER BY seq";
    let rows = query(sql).fetch_all(pool).await?;
    let time = |row: &PgRow, column| {
        let micros: Option<i64> = row.try_get(column)?;
        Ok::<_, sqlx::Error>(micros.map(Timestamp::from_micros))
    };
    let one = |row: &PgRow| {
        let hash: &[u8] = row.try_get(2)?;
        Ok(TokenRecord {
            id: row.try_get(0)?,
            name: row.try_get(1)?,
            hash: hash.try_into().map_err(|_| sqlx::Error::Decode("the hash of a token has 32 bytes".into()))?,
            terms: row.try_get(3)?,
            created: Timestamp::from_micros(row.try_get(4)?),
            expires: time(row, 5)?,
            revoked: time(row, 6)?,
        })
    };
    rows.iter().map(one).collect()
}

pub(super) async fn token_uses(pool: &PgPool) -> Result<HashMap<String, Timestamp>, sqlx::Error> {
    let rows = query("SELECT id, used FROM token_use").fetch_all(pool).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, Timestamp::from_micros(row.try_get(1)?)))).collect()
}

pub(super) async fn ticks(pool: &PgPool) -> Result<HashMap<String, Timestamp>, sqlx::Error> {
    let rows = query("SELECT name, last FROM schedule").fetch_all(pool).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, Timestamp::from_micros(row.try_get(1)?)))).collect()
}

pub(super) async fn audited(pool: &PgPool, before: i64, limit: usize) -> Result<Vec<AuditRecord>, sqlx::Error> {
    let sql = "SELECT seq, at, who, what, subject, detail FROM audit WHERE seq < $1 ORDER BY seq DESC LIMIT $2";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = query(sql).bind(before).bind(limit).fetch_all(pool).await?;
    let one = |row: &PgRow| {
        let at = Timestamp::from_micros(row.try_get(1)?);
        let [who, what, subject, detail] = [row.try_get(2)?, row.try_get(3)?, row.try_get(4)?, row.try_get(5)?];
        Ok(AuditRecord { seq: row.try_get(0)?, at, entry: NewAudit { who, what, subject, detail } })
    };
    rows.iter().map(one).collect()
}
