//! Where a store keeps its rows, and how much it may hold.

#[cfg(feature = "postgres")]
mod database_url;

#[cfg(feature = "sqlite")]
use std::path::PathBuf;

#[cfg(feature = "postgres")]
pub use self::database_url::{DatabaseUrl, DatabaseUrlError};

/// The settings of a store.
#[derive(Clone, Debug)]
pub struct Options {
    pub place: Location,
    /// The largest number of operations that may wait for the next commit. If more operations arrive, the store refuses
    /// them, or their callers wait. Settlements have a separate queue.
    pub queue: usize,
    /// The largest number of bytes of operations that may wait for the next commit.
    pub queue_bytes: usize,
    /// Whether Litestream runs beside this process. Litestream copies the write-ahead log (WAL) of the database while
    /// the WAL grows. If Litestream runs, this process must not truncate the WAL.
    pub litestream: bool,
    /// The largest number of requests that may wait to be run. If so many wait, the store refuses new requests.
    pub max_queued: u64,
    /// The largest number of bytes that the headers and bodies of all waiting requests may have together. If a new
    /// request would exceed this number, the store refuses the request.
    pub max_queued_bytes: u64,
    /// The number of bytes of free disk space that are reserved for requests that are already accepted. If less space
    /// is free, the store refuses new requests. 0: no space is reserved.
    pub disk_reserve: u64,
}

impl Options {
    /// Returns the options for a store in this location, with the default limits.
    pub fn at(place: Location) -> Self {
        Self {
            place,
            queue: 16_384,
            queue_bytes: 64 << 20,
            litestream: false,
            max_queued: u64::MAX,
            max_queued_bytes: u64::MAX,
            disk_reserve: 0,
        }
    }
}

/// The backend that stores the rows, and the place where it stores them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// The store keeps its rows in memory. All rows are lost when the process ends.
    Memory {
        /// The largest number of undelivered reports. The number of unfinished requests has the same limit, but is
        /// counted separately.
        reports: usize,
        /// The largest number of bytes of undelivered reports. The number of bytes of unfinished requests has the same
        /// limit, but is counted separately.
        bytes: usize,
        /// The largest number of ended rows that the store keeps, so that callers can read their outcomes.
        kept: usize,
    },
    /// The store keeps its rows in a SQLite database, which is one file. Only one process at a time may use the file.
    #[cfg(feature = "sqlite")]
    Sqlite { path: PathBuf, durability: Durability },
    /// The store keeps its rows in a schema of a PostgreSQL database. Several processes may use
    /// the schema.
    #[cfg(feature = "postgres")]
    Postgres { url: DatabaseUrl },
}

/// The failures after which committed transactions are still in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Committed transactions are not lost in a power cut of the machine, because each group commit waits until the
    /// data is on the disk.
    Full,
    /// Committed transactions are not lost if the process crashes, but may be lost in a power cut of the machine. On
    /// slow disks, commits are faster than with `Full`.
    Normal,
}
