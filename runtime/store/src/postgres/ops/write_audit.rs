//! Writes entries of the audit.

use sqlx::postgres::PgConnection;

use super::Apply;
use crate::audit::{MOST_ENTRIES, NewAudit};
use crate::ops::WriteAudit;
use crate::postgres::Batch;
use crate::postgres::codec::storable;
use crate::postgres::statement::{query, query_scalar};
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
pub(super) async fn write_audit(conn: &mut PgConnection, entry: &NewAudit, at: Timestamp) -> Result<(), sqlx::Error> {
    let NewAudit { who, what, subject, detail } = entry;
    let sql = "INSERT INTO audit (at, who, what, subject, detail) VALUES ($1, $2, $3, $4, $5) RETURNING seq";
    let write = query_scalar::<i64>(sql).bind(at.micros()).bind(storable(who)).bind(storable(what));
    let seq = write.bind(storable(subject)).bind(storable(detail)).fetch_one(&mut *conn).await?;
    let sql = "DELETE FROM audit WHERE seq <= $1";
    query(sql).bind(seq - i64::from(MOST_ENTRIES)).execute(conn).await.map(drop)
}
