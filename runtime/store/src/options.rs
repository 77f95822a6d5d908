//! Where a store keeps its rows, and how much it may hold.

#[cfg(feature = "sqlite")]
use std::path::PathBuf;

/// The settings of a store.
#[derive(Clone, Debug)]
pub struct Options {
    pub place: Location,
    /// The largest number of operations that may wait for the next commit. Beyond it, operations are refused, or their
    /// callers wait. Settlements have a queue of their own.
    pub queue: usize,
    /// The largest number of bytes that may wait for the next commit.
    pub queue_bytes: usize,
    /// Whether Litestream runs beside this process. Litestream copies the database's write-ahead log (WAL) as the WAL
    /// grows, and only Litestream may truncate the WAL.
    pub litestream: bool,
    /// The largest number of requests that may wait to be run. Beyond it, new requests are refused.
    pub max_queued: u64,
    /// The largest number of bytes that the headers and bodies of waiting requests may have. Beyond it, new requests
    /// are refused.
    pub max_queued_bytes: u64,
    /// How many bytes of free disk space are reserved for requests that are already accepted. If less is free, new
    /// requests are refused. 0: nothing is reserved.
    pub disk_reserve: u64,
}

impl Options {
    /// The options for a store in this location, with the default limits.
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
    /// The store keeps its rows in memory. No row survives the process.
    Memory {
        /// The largest number of undelivered reports. The same number also limits the unfinished requests, which are
        /// counted separately.
        reports: usize,
        /// The largest number of bytes of undelivered reports. The same number also limits the unfinished requests,
        /// which are counted separately.
        bytes: usize,
        /// The largest number of ended rows that are kept, so that callers can read them.
        kept: usize,
    },
    /// The store keeps its rows in a SQLite database: one file that only one process may use at a time.
    #[cfg(feature = "sqlite")]
    Sqlite { path: PathBuf, durability: Durability },
}

/// Which failures a committed transaction survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// A commit survives a power cut of the machine, because each group commit waits until the data is on the disk.
    Full,
    /// A commit survives the death of the process, but not a power cut of the machine. This is faster on slow disks.
    Normal,
}
