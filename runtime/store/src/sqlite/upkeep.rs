//! Housekeeping of the database between two batches: checkpoints, which copy the write-ahead log (WAL) into the
//! database file, and the return of empty pages to the file system.

use rusqlite::Connection;

use super::statement::{query, query_scalar};
use crate::ops::Op;
use postback_wire::names::metric;

/// Sets the longest time that a checkpoint waits for readers while callers wait for the checkpoint, in ms.
const BUSY: &str = "PRAGMA busy_timeout = 1000";
/// Sets the longest time that a checkpoint waits for readers while no caller waits for the checkpoint, in ms. Only the
/// next batch is delayed.
const SHORTLY: &str = "PRAGMA busy_timeout = 20";
/// The approximate number of bytes that are written between two checkpoints. With a larger number, fewer pages are
/// copied, because a page that is written several times is copied only once. But then the next batch waits longer for
/// the checkpoint and the disk.
const CHECKPOINT: u64 = 4 << 20;
/// If the WAL has more bytes than this number, the store truncates the WAL. The WAL gets so long if readers prevent
/// SQLite from writing to the start of the WAL again.
const LONG_LOG: i64 = 64 << 20;
/// If the WAL has more bytes than this number, the store logs a warning: another program keeps a transaction open, or
/// Litestream does not truncate the WAL.
const ENDLESS_LOG: i64 = 256 << 20;
/// The number of empty pages that the store returns to the file system at a time.
const GIVE_BACK: i64 = 256;

/// Writes this many bytes in a separate commit, and deletes the bytes. The call succeeds only if the disk has space for
/// the bytes. If an earlier call did not delete its bytes, this call overwrites them.
pub(super) fn try_to_write(conn: &Connection, bytes: usize) -> Result<(), rusqlite::Error> {
    let sql = "INSERT OR REPLACE INTO meta (key, value) VALUES (?1, zeroblob(?2))";
    query(sql).bind(TRY).bind(i64::try_from(bytes).unwrap_or(i64::MAX)).execute(conn)?;
    query("DELETE FROM meta WHERE key = ?1").bind(TRY).execute(conn)?;
    Ok(())
}

/// The key of the row in the table `meta` into which [`try_to_write`] writes its bytes.
const TRY: &str = "postback try to write";

/// The state of the housekeeping: how much was written since the last housekeeping, and which work is not done yet.
#[derive(Default)]
pub(super) struct Tidiness {
    /// Whether Litestream copies the WAL. Then only Litestream may truncate the WAL: if this program truncated the WAL,
    /// Litestream would have to copy the whole database again.
    litestream: bool,
    /// The approximate number of bytes that were written since the last checkpoint.
    bytes: u64,
    purged: bool,
    /// The length of the WAL at the last failed attempt to truncate the WAL, in bytes. The next attempt is made when
    /// the WAL is twice as long.
    pinned: i64,
    /// Whether the store has logged the warning about a long WAL.
    is_warned: bool,
    /// Whether the last checkpoint of this program failed because another program was making a checkpoint. If so, this
    /// program tries again after each batch.
    busy: bool,
    /// Whether the whole WAL must still be copied into the database file. Until the WAL is copied, the last commits may
    /// not be on the disk.
    owed: bool,
}

impl Tidiness {
    pub(super) fn new(litestream: bool) -> Self {
        Self { litestream, ..Self::default() }
    }

    pub(super) fn wrote(&mut self, ops: &[Op], purged: bool) {
        // The constants were measured: a batch writes eight pages in addition to its rows, and a row writes a quarter
        // of a page in addition to its bytes, because rows share pages.
        let bytes: usize = ops.iter().map(|op| op.bytes() + (op.rows() << 10)).sum();
        self.bytes += (bytes + (8 << 12)) as u64;
        self.purged |= purged;
    }

    /// Returns whether there is something to do.
    pub(super) fn is_due(&self) -> bool {
        self.purged || self.owed || self.bytes >= CHECKPOINT
    }

    /// Copies the WAL into the database file, if enough bytes were written. After a purge, also returns empty pages to
    /// the file system. Returns the length of the WAL in bytes, if it was looked up.
    pub(super) fn tidy(&mut self, conn: &Connection) -> Result<Option<i64>, rusqlite::Error> {
        if std::mem::take(&mut self.purged) {
            give_back(conn)?;
        }
        if self.owed && copy_log(conn, SHORTLY)? {
            self.owed = false;
            tracing::info!("the log of the database was copied into the file");
        }
        if self.bytes < CHECKPOINT {
            return Ok(None);
        }
        self.bytes = 0;
        let row = query("PRAGMA wal_checkpoint(PASSIVE)").fetch_one(conn)?;
        let (busy, pages, copied): (i64, i64, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        if self.is_busy(busy != 0) {
            return Ok(None);
        }
        let size: i64 = query_scalar("PRAGMA page_size").fetch_one(conn)?;
        let log = pages * size;
        if log <= LONG_LOG {
            (self.pinned, self.is_warned) = (0, false);
        } else if !self.litestream && (copied == pages || log >= 2 * self.pinned) {
            let truncated = truncate_log(conn)?;
            self.pinned = if truncated { 0 } else { log };
        }
        if log > ENDLESS_LOG && (self.litestream || self.pinned > 0) && !self.is_warned {
            self.is_warned = true;
            let why = if self.litestream {
                "Litestream does not truncate it, which is its task while store.litestream is on"
            } else {
                "another program keeps a transaction open on it"
            };
            tracing::warn!("the log of the database has {} MiB and grows: {why}", log >> 20);
        }
        Ok(Some(log))
    }
}

impl Tidiness {
    /// Records whether a checkpoint of another program prevented the checkpoint of this program. Returns `busy`.
    fn is_busy(&mut self, busy: bool) -> bool {
        if busy {
            metrics::counter!(metric::STORE_BUSY_CHECKPOINTS).increment(1);
            // This value makes the housekeeping repeat the checkpoint after the next batch.
            self.bytes = CHECKPOINT;
        }
        if busy && !self.busy {
            tracing::warn!("another program copies the log of the database; the log grows until that program is done");
        } else if self.busy && !busy {
            tracing::info!("the log of the database is copied into the file again");
        }
        self.busy = busy;
        busy
    }

    /// Copies the whole WAL into the database file, after a commit that returned an error although the WAL has the
    /// commit. If the sync of that commit failed, the WAL may be only in the memory of the operating system, and no
    /// later sync would write the WAL to the disk. So the pages of the WAL are written to another file, the database
    /// file. If a reader prevents the copy, the copy is repeated after each batch.
    pub(super) fn copy_log(&mut self, conn: &Connection) -> Result<(), rusqlite::Error> {
        self.owed = !copy_log(conn, BUSY)?;
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

/// Truncates the WAL. Waits at most 100 ms for readers, because a batch may be waiting. Returns whether the WAL was
/// truncated.
fn truncate_log(conn: &Connection) -> Result<bool, rusqlite::Error> {
    query("PRAGMA busy_timeout = 100").execute(conn)?;
    let truncated = query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(conn);
    query("PRAGMA busy_timeout = 5000").execute(conn)?;
    Ok(truncated?.try_get::<i64>(0)? == 0)
}

/// Copies the WAL into the database file. Returns whether the whole WAL was copied. `patience` is the statement that
/// sets the longest time to wait for readers.
fn copy_log(conn: &Connection, patience: &'static str) -> Result<bool, rusqlite::Error> {
    query(patience).execute(conn)?;
    let copied = query("PRAGMA wal_checkpoint(FULL)").fetch_one(conn);
    query("PRAGMA busy_timeout = 5000").execute(conn)?;
    Ok(copied?.try_get::<i64>(0)? == 0)
}

/// Returns empty pages to the file system, if more than a quarter of the pages of the database are empty. If fewer
/// pages are empty, SQLite soon uses them again.
fn give_back(conn: &Connection) -> Result<(), rusqlite::Error> {
    let empty: i64 = query_scalar("PRAGMA freelist_count").fetch_one(conn)?;
    let all: i64 = query_scalar("PRAGMA page_count").fetch_one(conn)?;
    if empty > all / 4 && empty > GIVE_BACK {
        query("PRAGMA incremental_vacuum(256)").execute(conn)?;
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::Path;

    use super::super::connect::Connector;
    use super::*;
    use crate::options::Durability;

    fn open(path: &Path) -> Connection {
        let conn = Connector::new(path, Durability::Normal).write().unwrap();
        conn.execute_batch("CREATE TABLE IF NOT EXISTS t (a); INSERT INTO t VALUES (1)").unwrap();
        conn
    }

    #[test]
    pub(crate) fn a_log_that_a_reader_pins_is_copied_once_it_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.db");
        std::fs::write(&path, "").unwrap();
        let conn = open(&path);
        let reader = Connector::new(&path, Durability::Normal).look().unwrap();
        reader.execute_batch("BEGIN; SELECT count(*) FROM t").unwrap();
        conn.execute_batch("INSERT INTO t VALUES (2)").unwrap();
        let mut tidiness = Tidiness::new(false);
        tidiness.copy_log(&conn).unwrap();
        assert!(tidiness.owed);
        tidiness.tidy(&conn).unwrap();
        assert!(tidiness.owed);
        reader.execute_batch("ROLLBACK").unwrap();
        tidiness.tidy(&conn).unwrap();
        assert!(!tidiness.owed);
        // The database file alone contains both rows.
        let copy = dir.path().join("copy.db");
        std::fs::copy(&path, &copy).unwrap();
        let copy = Connector::new(&copy, Durability::Normal).write().unwrap();
        let rows: i64 = copy.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 2);
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
