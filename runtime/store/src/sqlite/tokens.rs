//! Reads what operators and programs leave in the store: tokens, the ticks of schedules, and the audit.

use rusqlite::Connection;
use std::collections::HashMap;

use super::codec::misread;
use super::statement::{Row, query};
use crate::audit::{AuditRecord, NewAudit};
use crate::tokens::TokenRecord;
use postback_wire::time::Timestamp;

pub(super) fn tokens(conn: &Connection) -> Result<Vec<TokenRecord>, rusqlite::Error> {
    let sql = "SELECT id, name, hash, terms, created, expires, revoked FROM token ORDER BY seq";
    let rows = query(sql).fetch_all(conn)?;
    let time = |row: &Row, column| {
        let micros: Option<i64> = row.try_get(column)?;
        Ok::<_, rusqlite::Error>(micros.map(Timestamp::from_micros))
    };
    let one = |row: &Row| {
        let hash: &[u8] = row.try_get(2)?;
        Ok(TokenRecord {
            id: row.try_get(0)?,
            name: row.try_get(1)?,
            hash: hash.try_into().map_err(|_| misread("the hash of a token has 32 bytes"))?,
            terms: row.try_get(3)?,
            created: Timestamp::from_micros(row.try_get(4)?),
            expires: time(row, 5)?,
            revoked: time(row, 6)?,
        })
    };
    rows.iter().map(one).collect()
}

pub(super) fn token_uses(conn: &Connection) -> Result<HashMap<String, Timestamp>, rusqlite::Error> {
    let rows = query("SELECT id, used FROM token_use").fetch_all(conn)?;
    rows.iter().map(|row| Ok((row.try_get(0)?, Timestamp::from_micros(row.try_get(1)?)))).collect()
}

pub(super) fn ticks(conn: &Connection) -> Result<HashMap<String, Timestamp>, rusqlite::Error> {
    let rows = query("SELECT name, last FROM schedule").fetch_all(conn)?;
    rows.iter().map(|row| Ok((row.try_get(0)?, Timestamp::from_micros(row.try_get(1)?)))).collect()
}

pub(super) fn audited(conn: &Connection, before: i64, limit: usize) -> Result<Vec<AuditRecord>, rusqlite::Error> {
    let sql = "SELECT seq, at, who, what, subject, detail FROM audit WHERE seq < ?1 ORDER BY seq DESC LIMIT ?2";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = query(sql).bind(before).bind(limit).fetch_all(conn)?;
    let one = |row: &Row| {
        let at = Timestamp::from_micros(row.try_get(1)?);
        let [who, what, subject, detail] = [row.try_get(2)?, row.try_get(3)?, row.try_get(4)?, row.try_get(5)?];
        Ok(AuditRecord { seq: row.try_get(0)?, at, entry: NewAudit { who, what, subject, detail } })
    };
    rows.iter().map(one).collect()
}
