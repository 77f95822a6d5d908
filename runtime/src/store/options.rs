//! Where a store is, and what it may hold.

#[cfg(feature = "sqlite")]
use std::path::PathBuf;

/// Where the store is and what it may hold.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) place: Location,
    /// Operations that may wait for the next commit; more are refused or wait. Settlements have room of their own.
    pub(crate) queue: usize,
    /// Bytes that may wait for the next commit.
    pub(crate) queue_bytes: usize,
    /// Another program copies the log of the file as it grows, and cuts it off.
    #[cfg_attr(not(feature = "sqlite"), expect(dead_code, reason = "memory has no log"))]
    pub(crate) litestream: bool,
    /// Requests that may wait to be run, and the bytes of their headers and bodies. More are refused.
    pub(crate) max_queued: u64,
    pub(crate) max_queued_bytes: u64,
    /// Bytes of its disk that are left for what was accepted: with less than that free, new requests are refused. 0: none.
    pub(crate) disk_reserve: u64,
}

impl Options {
    /// At this place, with the usual bounds.
    pub(crate) fn at(place: Location) -> Self {
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

/// Which backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Location {
    /// Nothing survives the process.
    Memory {
        /// Undelivered reports, at most.
        reports: usize,
        /// Their bytes, at most.
        bytes: usize,
        /// Rows that came to their end and are kept to be asked for, at most.
        kept: usize,
    },
    /// One file, owned by one process.
    #[cfg(feature = "sqlite")]
    Sqlite { path: PathBuf, durability: Durability },
}

/// What a commit survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "sqlite"), expect(unreachable_pub, reason = "a user's choice where there is a file"))]
pub enum Durability {
    /// The loss of the machine's power: each group commit waits for the disk.
    Full,
    /// The death of the process, not that of the machine. Faster on slow disks.
    Normal,
}
