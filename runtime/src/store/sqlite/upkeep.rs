//! What keeps the file in order: the claims of earlier owners, the end of retention, checkpoints, room given back.

use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

use super::statement::{query, query_scalar};
use crate::names::metric;
use crate::store::ops::Op;

/// How long a checkpoint waits for readers, while callers wait for it and while only the next batch does.
const BUSY: &str = "PRAGMA busy_timeout = 1000";
const SHORTLY: &str = "PRAGMA busy_timeout = 20";
/// Written since the last checkpoint before another one is made, roughly. A page that was written often in between is copied
/// once; but the next batch waits for it, and for the disk.
const CHECKPOINT: u64 = 4 << 20;
/// A log of this many bytes, which readers kept from being used from its start again, is cut off.
const LONG_LOG: i64 = 64 << 20;
/// A log of this many bytes is told of: somebody keeps a transaction open.
const ENDLESS_LOG: i64 = 256 << 20;
/// Pages given back to the file system at a time.
const GIVE_BACK: i64 = 256;

/// Whether so many bytes can be written, in a commit of their own. What an earlier try left, its place is taken.
pub(super) async fn try_to_write(conn: &mut SqliteConnection, bytes: usize) -> Result<(), sqlx::Error> {
    let sql = "INSERT OR REPLACE INTO meta (key, value) VALUES (?1, zeroblob(?2))";
    query(sql).bind(TRY).bind(i64::try_from(bytes).unwrap_or(i64::MAX)).execute(&mut *conn).await?;
    query("DELETE FROM meta WHERE key = ?1").bind(TRY).execute(conn).await?;
    Ok(())
}

/// Another key there, of bytes that mean nothing.
const TRY: &str = "postback try to write";

/// What the file has been through since it was last tidied.
#[derive(Default)]
pub(super) struct Tidiness {
    /// Who copies the log cuts it off as well: done here, it would have to begin with a new copy of the whole file.
    litestream: bool,
    bytes: u64,
    purged: bool,
    /// The log's length when it could not be cut off. It is not waited for again before it has doubled.
    pinned: i64,
    told: bool,
    /// Another program is at it: it is tried again after each batch.
    busy: bool,
    /// What is in the log has to come into the file, as nothing else makes sure that it is on the disk.
    owed: bool,
}

impl Tidiness {
    pub(super) fn new(litestream: bool) -> Self {
        Self { litestream, ..Self::default() }
    }

    pub(super) fn wrote(&mut self, ops: &[&Op], purged: bool) {
        // A batch writes some pages whatever is in it, and rows share theirs: measured, eight and a quarter of one for each.
        let bytes: usize = ops.iter().map(|op| op.bytes() + (op.rows() << 10)).sum();
        self.bytes += (bytes + (8 << 12)) as u64;
        self.purged |= purged;
    }

    /// Copies the log into the file where there is enough of it, and gives back room after a purge.
    pub(super) async fn tidy(&mut self, conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        if std::mem::take(&mut self.purged) {
            give_back(conn).await?;
        }
        if self.owed && copy_log(conn, SHORTLY).await? {
            self.owed = false;
            tracing::info!("the log of the database was copied into the file");
        }
        if self.bytes < CHECKPOINT {
            return Ok(());
        }
        self.bytes = 0;
        let row = query("PRAGMA wal_checkpoint(PASSIVE)").fetch_one(&mut *conn).await?;
        let (busy, pages, copied): (i64, i64, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        if self.is_busy(busy != 0) {
            return Ok(());
        }
        let size: i64 = query_scalar("PRAGMA page_size").fetch_one(&mut *conn).await?;
        let log = pages * size;
        #[expect(clippy::cast_precision_loss, reason = "a log of 2^52 bytes fits on no disk")]
        metrics::gauge!(metric::STORE_LOG_BYTES).set(log as f64);
        if log <= LONG_LOG {
            (self.pinned, self.told) = (0, false);
        } else if !self.litestream && (copied == pages || log >= 2 * self.pinned) {
            let cut = cut_off(conn).await?;
            self.pinned = if cut { 0 } else { log };
        }
        if log > ENDLESS_LOG && (self.litestream || self.pinned > 0) && !self.told {
            self.told = true;
            let why = if self.litestream {
                "Litestream, which has to cut it off while store.litestream is on, does not"
            } else {
                "another program keeps a transaction open on it"
            };
            tracing::warn!("the log of the database has {} MiB and grows: {why}", log >> 20);
        }
        Ok(())
    }
}

impl Tidiness {
    /// Takes down whether a checkpoint was kept out by another one.
    fn is_busy(&mut self, busy: bool) -> bool {
        if busy {
            metrics::counter!(metric::STORE_BUSY_CHECKPOINTS).increment(1);
            // With the next batch.
            self.bytes = CHECKPOINT;
        }
        if busy && !self.busy {
            tracing::warn!(
                "another program copies the log of the database; what is written meanwhile stays in the log"
            );
        } else if self.busy && !busy {
            tracing::info!("the log of the database is copied again");
        }
        self.busy = busy;
        busy
    }

    /// Copies the log into the file after a commit that failed and was found all the same. If its sync failed, the log may be
    /// in the system's memory only, and no later sync would write it: so it is written anew, elsewhere. Where a reader keeps it
    /// from that, it is tried again after each batch.
    pub(super) async fn copy_log(&mut self, conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        self.owed = !copy_log(conn, BUSY).await?;
        if self.owed {
            metrics::counter!(metric::STORE_BUSY_CHECKPOINTS).increment(1);
            tracing::warn!(
                "the log of the database cannot be copied into the file while another program reads it; until then the last commits \
                 may not survive a loss of power"
            );
        }
        Ok(())
    }
}

/// Empties the log. Waits for readers, but not for long: a batch may be coming. Whether it could.
async fn cut_off(conn: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    query("PRAGMA busy_timeout = 100").execute(&mut *conn).await?;
    let cut = query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut *conn).await;
    query("PRAGMA busy_timeout = 5000").execute(&mut *conn).await?;
    Ok(cut?.try_get::<i64, _>(0)? == 0)
}

/// Whether all of the log was copied into the file. Waits so many milliseconds for readers.
async fn copy_log(conn: &mut SqliteConnection, patience: &'static str) -> Result<bool, sqlx::Error> {
    query(patience).execute(&mut *conn).await?;
    let copied = query("PRAGMA wal_checkpoint(FULL)").fetch_one(&mut *conn).await;
    query("PRAGMA busy_timeout = 5000").execute(&mut *conn).await?;
    Ok(copied?.try_get::<i64, _>(0)? == 0)
}

/// Gives pages back if more than a quarter of the file is empty; less is soon used again.
async fn give_back(conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let empty: i64 = query_scalar("PRAGMA freelist_count").fetch_one(&mut *conn).await?;
    let all: i64 = query_scalar("PRAGMA page_count").fetch_one(&mut *conn).await?;
    if empty > all / 4 && empty > GIVE_BACK {
        query("PRAGMA incremental_vacuum(256)").execute(conn).await?;
    }
    Ok(())
}

#[cfg(test)]
pub(in crate::store) mod tests {
    use std::path::Path;

    use sqlx::Connection as _;

    use super::super::connect::Connector;
    use super::*;
    use crate::store::Durability;

    async fn open(path: &Path) -> SqliteConnection {
        let mut conn = Connector::new(path, Durability::Normal).write().await.unwrap();
        sqlx::raw_sql("CREATE TABLE IF NOT EXISTS t (a); INSERT INTO t VALUES (1)").execute(&mut conn).await.unwrap();
        conn
    }

    #[tokio::test]
    pub(in crate::store) async fn a_log_that_a_reader_pins_is_copied_once_it_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.db");
        std::fs::write(&path, "").unwrap();
        let mut conn = open(&path).await;
        let mut reader = Connector::new(&path, Durability::Normal).look().await.unwrap();
        sqlx::raw_sql("BEGIN; SELECT count(*) FROM t").execute(&mut reader).await.unwrap();
        sqlx::raw_sql("INSERT INTO t VALUES (2)").execute(&mut conn).await.unwrap();
        let mut tidiness = Tidiness::new(false);
        tidiness.copy_log(&mut conn).await.unwrap();
        assert!(tidiness.owed);
        tidiness.tidy(&mut conn).await.unwrap();
        assert!(tidiness.owed);
        sqlx::raw_sql("ROLLBACK").execute(&mut reader).await.unwrap();
        tidiness.tidy(&mut conn).await.unwrap();
        assert!(!tidiness.owed);
        // The file alone has it.
        let copy = dir.path().join("copy.db");
        std::fs::copy(&path, &copy).unwrap();
        let mut copy = Connector::new(&copy, Durability::Normal).write().await.unwrap();
        let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM t").fetch_one(&mut copy).await.unwrap();
        assert_eq!(rows, 2);
        for conn in [conn, reader, copy] {
            conn.close().await.unwrap();
        }
    }

    #[test]
    fn a_checkpoint_that_is_kept_out_comes_again_with_the_next_batch() {
        let mut tidiness = Tidiness::new(false);
        assert!(tidiness.is_busy(true) && tidiness.is_busy(true));
        assert_eq!(tidiness.bytes, CHECKPOINT);
        tidiness.bytes = 0;
        assert!(!tidiness.is_busy(false));
        assert_eq!((tidiness.bytes, tidiness.busy), (0, false));
    }
}
