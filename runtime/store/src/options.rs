//! Where a store is, and what it may hold.

#[cfg(feature = "sqlite")]
use std::path::PathBuf;

/// The settings of a store.
#[derive(Clone, Debug)]
pub struct Options {
    pub place: Location,
    /// The most operations that may wait for the next commit. More operations are refused, or their callers wait.
    /// Settlements have a queue of their own.
    pub queue: usize,
    /// The most bytes that may wait for the next commit.
    pub queue_bytes: usize,
    /// Whether Litestream runs beside this process. Litestream copies the database's write-ahead log as the log grows,
    /// and Litestream alone may truncate the log.
    pub litestream: bool,
    /// The most requests that may wait to be run. More requests are refused.
    pub max_queued: u64,
    /// The most bytes of headers and bodies that waiting requests may hold. More requests are refused.
    pub max_queued_bytes: u64,
    /// Bytes of the disk that are reserved for accepted requests. With less free, new requests are refused. 0: nothing
    /// is reserved.
    pub disk_reserve: u64,
}

impl Options {
    /// A store at this place, with the default bounds.
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

/// Which backend stores the rows, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// Rows are kept in memory. Nothing survives the process.
    Memory {
        /// The most undelivered reports. Unfinished requests have a limit of their own with the same number.
        reports: usize,
        /// The most bytes of undelivered reports. Unfinished requests have a limit of their own with the same number.
        bytes: usize,
        /// The most ended rows that are kept, so that callers can read them.
        kept: usize,
    },
    /// A SQLite database in one file, which one process owns.
    #[cfg(feature = "sqlite")]
    Sqlite { path: PathBuf, durability: Durability },
}

/// Which failures a committed transaction survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// A commit survives a power cut of the machine: each group commit waits for the disk.
    Full,
    /// A commit survives the death of the process, but not of the machine. Faster on slow disks.
    Normal,
}
