//! Opens connections to the database, and explains SQLite's errors.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, Error, OpenFlags};

use crate::options::Durability;

/// The number of connections that read. More connections would not make reads faster, because reads are short and all
/// connections read the same file.
pub(super) const READERS: usize = 4;
/// The longest time that a batch or a read waits while another process (such as a backup or a shell) locks the
/// database. After this time the batch or the read fails.
pub(super) const BUSY: Duration = Duration::from_secs(5);
/// The number of compiled statements that a connection keeps. It has space for all statements.
const STATEMENTS: usize = 192;

/// A function that changes each connection that writes.
pub(super) type Tune = Arc<dyn Fn(&Connection) -> Result<(), Error> + Send + Sync>;

#[derive(Clone)]
pub(super) struct Connector {
    path: PathBuf,
    durability: Durability,
    litestream: bool,
    tune: Tune,
}

impl Connector {
    pub(super) fn new(path: &Path, durability: Durability) -> Self {
        Self { path: path.into(), durability, litestream: false, tune: Arc::new(|_| Ok(())) }
    }

    pub(super) fn beside_litestream(self, litestream: bool) -> Self {
        Self { litestream, ..self }
    }

    pub(super) fn is_beside_litestream(&self) -> bool {
        self.litestream
    }

    #[cfg(test)]
    pub(super) fn tuned(self, tune: Tune) -> Self {
        Self { tune, ..self }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn set_path(&mut self, path: &Path) {
        self.path = path.into();
    }

    /// Opens the connection that writes. Never creates the file, because an empty database must not replace a missing
    /// database.
    pub(super) fn write(&self) -> Result<Connection, Error> {
        let conn = self.open(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        // This option makes it possible to return empty pages to the file system. SQLite accepts the option only before
        // anything is written into the file.
        set(&conn, "auto_vacuum", "INCREMENTAL")?;
        set(&conn, "journal_mode", "WAL")?;
        set(
            &conn,
            "synchronous",
            match self.durability {
                Durability::Full => "FULL",
                Durability::Normal => "NORMAL",
            },
        )?;
        // This value turns off the automatic checkpoints of SQLite. Instead, the housekeeping makes checkpoints between
        // two batches, when no caller waits.
        set(&conn, "wal_autocheckpoint", 0)?;
        set(&conn, "journal_size_limit", if self.litestream { -1 } else { 64 << 20 })?;
        set(&conn, "cache_size", -16_384)?;
        (self.tune)(&conn)?;
        Ok(conn)
    }

    /// Opens a connection that reads.
    pub(super) fn read(&self) -> Result<Connection, Error> {
        let conn = self.look()?;
        set(&conn, "query_only", true)?;
        set(&conn, "cache_size", -8_192)?;
        Ok(conn)
    }

    /// Opens a single connection that can read, but cannot write.
    pub(super) fn look(&self) -> Result<Connection, Error> {
        self.open(OpenFlags::SQLITE_OPEN_READ_ONLY)
    }

    fn open(&self, flags: OpenFlags) -> Result<Connection, Error> {
        // SQLite need not lock the connection, because only one thread at a time uses it.
        let conn = Connection::open_with_flags(&self.path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        conn.busy_timeout(BUSY)?;
        conn.set_prepared_statement_cache_capacity(STATEMENTS);
        // SQLite need not check foreign keys, because rows are deleted in batches, one table after the other.
        set(&conn, "foreign_keys", false)?;
        set(&conn, "temp_store", "MEMORY")?;
        // The file is not mapped into memory, because SQLite must report an I/O error as an error, not as a signal.
        set(&conn, "mmap_size", 0)?;
        Ok(conn)
    }
}

/// Sets an option of a connection.
fn set(conn: &Connection, pragma: &str, value: impl rusqlite::ToSql) -> Result<(), Error> {
    // Some of these statements return the new value.
    conn.pragma_update_and_check(None, pragma, value, |_| Ok(())).or_else(|error| match error {
        Error::QueryReturnedNoRows => Ok(()),
        error => Err(error),
    })
}

/// Returns the error. If the database is damaged, adds advice for the operator, because the message of SQLite contains
/// no advice.
pub(super) fn explained(error: Error) -> Box<dyn std::error::Error + Send + Sync> {
    const CORRUPT: i32 = 11;
    if code(&error) == Some(CORRUPT) {
        return format!("it is damaged; restore it from a backup, or move it away to begin with an empty one: {error}")
            .into();
    }
    error.into()
}

/// Returns whether the operation would fail again, even if the disk and the device work. After such an error the
/// transaction is still open.
pub(super) fn is_permanent(error: &Error) -> bool {
    // These are primary result codes of SQLite, from https://www.sqlite.org/rescode.html
    const ERROR: i32 = 1;
    const TOOBIG: i32 = 18;
    const CONSTRAINT: i32 = 19;
    const MISMATCH: i32 = 20;
    const RANGE: i32 = 25;
    match code(error) {
        Some(code) => matches!(code, ERROR | TOOBIG | CONSTRAINT | MISMATCH | RANGE),
        // The error comes from the values of a row, not from SQLite.
        None => true,
    }
}

/// Returns the primary result code of SQLite.
fn code(error: &Error) -> Option<i32> {
    match error {
        Error::SqliteFailure(error, _) | Error::SqlInputError { error, .. } => Some(error.extended_code & 0xff),
        _ => None,
    }
}
