//! Opens connections to the database, and explains SQLite's errors.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};

use crate::options::Durability;

/// The number of connections that read. More connections would not make reads faster, because reads are short and all
/// connections read the same file.
pub(super) const READERS: u32 = 4;
/// The longest time that a batch or a read waits while another process (such as a backup or a shell) locks the
/// database. After this time the batch or the read fails.
const BUSY: Duration = Duration::from_secs(5);

/// A function that changes the options of each connection that writes.
pub(super) type Tune = Arc<dyn Fn(SqliteConnectOptions) -> SqliteConnectOptions + Send + Sync>;

pub(super) struct Connector {
    path: PathBuf,
    durability: Durability,
    litestream: bool,
    tune: Tune,
}

impl Connector {
    pub(super) fn new(path: &Path, durability: Durability) -> Self {
        Self { path: path.into(), durability, litestream: false, tune: Arc::new(|options| options) }
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
    pub(super) async fn write(&self) -> Result<SqliteConnection, sqlx::Error> {
        let synchronous = match self.durability {
            Durability::Full => SqliteSynchronous::Full,
            Durability::Normal => SqliteSynchronous::Normal,
        };
        let options = self
            .common()
            // This option makes it possible to return empty pages to the file system. SQLite accepts the option only
            // before the first table is created.
            .auto_vacuum(SqliteAutoVacuum::Incremental)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(synchronous)
            // The option turns off the automatic checkpoints of SQLite. Instead, the housekeeping makes checkpoints
            // between two batches, when no caller waits.
            .pragma("wal_autocheckpoint", "0")
            .pragma("journal_size_limit", if self.litestream { "-1" } else { "67108864" })
            .pragma("cache_size", "-16384")
            .row_buffer_size(1_024);
        (self.tune)(options).connect().await
    }

    /// Returns the pool of connections that read. The pool opens connections only when they are needed.
    pub(super) fn read(&self) -> SqlitePool {
        let options = self.common().read_only(true).pragma("query_only", "ON").pragma("cache_size", "-8192");
        SqlitePoolOptions::new().max_connections(READERS).acquire_timeout(BUSY).connect_lazy_with(options)
    }

    /// Opens a single connection that can read, but cannot write.
    pub(super) async fn look(&self) -> Result<SqliteConnection, sqlx::Error> {
        self.common().read_only(true).connect().await
    }

    fn common(&self) -> SqliteConnectOptions {
        SqliteConnectOptions::new()
            .filename(&self.path)
            .create_if_missing(false)
            .busy_timeout(BUSY)
            // The cache has space for all statements: six statements exist in ten variants, one for each number of rows
            // that the statement can process, and each other statement exists once.
            .statement_cache_capacity(128)
            // SQLite need not check foreign keys, because rows are deleted in batches, one table after the other.
            .foreign_keys(false)
            .pragma("temp_store", "MEMORY")
            // The file is not mapped into memory, because SQLite must report an I/O error as an error, not as a signal.
            .pragma("mmap_size", "0")
            .disable_statement_logging()
    }
}

/// Returns the error. If the database is damaged, adds advice for the operator, because the message of SQLite contains
/// no advice.
pub(super) fn explained(error: sqlx::Error) -> Box<dyn std::error::Error + Send + Sync> {
    const CORRUPT: i32 = 11;
    let code = error.as_database_error().and_then(|error| error.code()?.parse::<i32>().ok());
    if code.is_some_and(|code| code & 0xff == CORRUPT) {
        return format!("it is damaged; restore it from a backup, or move it away to begin with an empty one: {error}")
            .into();
    }
    error.into()
}

/// Returns whether the operation would fail again, even if the disk and the device work. After such an error the
/// transaction is still open.
pub(super) fn is_permanent(error: &sqlx::Error) -> bool {
    // These are primary result codes of SQLite, from https://www.sqlite.org/rescode.html
    const ERROR: i32 = 1;
    const TOOBIG: i32 = 18;
    const CONSTRAINT: i32 = 19;
    const MISMATCH: i32 = 20;
    const RANGE: i32 = 25;
    match error {
        sqlx::Error::Database(error) => error
            .code()
            .and_then(|code| code.parse::<i32>().ok())
            .is_some_and(|code| matches!(code & 0xff, ERROR | TOOBIG | CONSTRAINT | MISMATCH | RANGE)),
        sqlx::Error::Encode(_)
        | sqlx::Error::Decode(_)
        | sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::ColumnIndexOutOfBounds { .. }
        | sqlx::Error::RowNotFound => true,
        _ => false,
    }
}
