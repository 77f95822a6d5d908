//! Writes entries of the audit.

use sqlx::sqlite::SqliteConnection;

use super::Apply;
use crate::audit::{MOST_ENTRIES, NewAudit};
use crate::ops::WriteAudit;
use crate::sqlite::Batch;
use crate::sqlite::statement::query;
use postback_wire::time::Timestamp;

impl Apply for WriteAudit {
    async fn apply(batch: &mut Batch<'_>) -> Result<(), sqlx::Error> {
        for (at, Self(entry)) in batch.of::<Self>() {
            write_audit(batch.conn, entry, batch.now.wall).await?;
            batch.answer::<Self>(at, ());
        }
        Ok(())
    }
}

/// Writes an entry, and deletes the oldest entry if there are too many.
pub(super) async fn write_audit(
    conn: &mut SqliteConnection,
    entry: &NewAudit,
    at: Timestamp,
) -> Result<(), sqlx::Error> {
    let NewAudit { who, what, subject, detail } = entry;
    let sql = "INSERT INTO audit (at, who, what, subject, detail) VALUES (?1, ?2, ?3, ?4, ?5)";
    let write = query(sql).bind(at.micros()).bind(who).bind(what).bind(subject).bind(detail);
    let seq = write.execute(&mut *conn).await?.last_insert_rowid();
    let sql = "DELETE FROM audit WHERE seq <= ?1";
    query(sql).bind(seq - i64::from(MOST_ENTRIES)).execute(conn).await?;
    Ok(())
}
