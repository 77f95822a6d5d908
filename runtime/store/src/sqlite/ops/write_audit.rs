//! Writes entries of the audit.

use rusqlite::Connection;

use super::Apply;
use crate::audit::{MOST_ENTRIES, NewAudit};
use crate::ops::WriteAudit;
use crate::sqlite::Batch;
use crate::sqlite::statement::query;
use postback_wire::time::Timestamp;

impl Apply for WriteAudit {
    fn apply(batch: &mut Batch<'_>) -> Result<(), rusqlite::Error> {
        for (at, Self(entry)) in batch.of::<Self>() {
            write_audit(batch.conn, entry, batch.now.wall)?;
            batch.answer::<Self>(at, ());
        }
        Ok(())
    }
}

/// Writes an entry, and deletes the oldest entry if there are too many.
pub(super) fn write_audit(conn: &Connection, entry: &NewAudit, at: Timestamp) -> Result<(), rusqlite::Error> {
    let NewAudit { who, what, subject, detail } = entry;
    let sql = "INSERT INTO audit (at, who, what, subject, detail) VALUES (?1, ?2, ?3, ?4, ?5)";
    let write = query(sql).bind(at.micros()).bind(who).bind(what).bind(subject).bind(detail);
    write.execute(conn)?;
    let seq = conn.last_insert_rowid();
    let sql = "DELETE FROM audit WHERE seq <= ?1";
    query(sql).bind(seq - i64::from(MOST_ENTRIES)).execute(conn)?;
    Ok(())
}
