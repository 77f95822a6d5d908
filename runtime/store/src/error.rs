//! The errors of the store.

use std::path::PathBuf;
use std::sync::Arc;

/// Why an operation failed. Nothing of the operation was written, except perhaps after [`Error::Backend`]: if the
/// commit itself failed and its outcome could not be looked up in time, the operation may have been written, or may
/// still be. The caller can find out by the id: a request is in the store or is not, and a second settlement is stale.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The queue to the writer, or the memory store, holds as much as it may.
    #[error("the store's queue is full; try again later")]
    Full,
    /// New requests are refused: one of the bounds on waiting requests, or on the free disk space, is reached.
    #[error("{0}")]
    Refused(Bound),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// The backend can never write this operation, whatever the state of disk and device.
    #[error("the store can never write this operation")]
    Unwritable(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// The backend fails at the moment: the disk is full, the file is gone, or an I/O error occurred.
    #[error("the store cannot read or write at the moment")]
    Backend(#[source] Arc<dyn std::error::Error + Send + Sync>),
}

/// Logs the failure of an operation that writes. For [`Error::Backend`] the line has level debug, because the store
/// logs each cause once, however many operations fail for the same cause. For every other error the line has level
/// warn.
#[macro_export]
macro_rules! warn_unless_logged {
    ($error:expr, $($said:tt)+) => {
        match $error {
            $crate::Error::Backend(_) => tracing::debug!($($said)+),
            _ => tracing::warn!($($said)+),
        }
    };
}

/// The bound that refuses a new request, and the setting that sets the bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Bound {
    #[error("{0} requests wait already (worker.max_queued)")]
    Rows(u64),
    #[error("the requests that wait would exceed {0} bytes (worker.max_queued_bytes)")]
    Bytes(u64),
    #[error(
        "the disk of the store has {free} bytes free; {reserve} bytes are reserved for accepted requests \
         (store.disk_reserve)"
    )]
    Disk { free: u64, reserve: u64 },
}

impl Bound {
    /// The value of the metrics' label `reason`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rows(_) => "max_queued",
            Self::Bytes(_) => "max_queued_bytes",
            Self::Disk { .. } => "disk_reserve",
        }
    }
}

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "the database {path} is in use by process {pid}; stop that process, or set store.url to another file",
        path = path.display()
    )]
    InUse { path: PathBuf, pid: String },
    #[error(
        "the database {path} has schema version {found}, and this program knows versions up to {known}; run the newer \
         program, or set store.url to another file",
        path = path.display()
    )]
    Newer { path: PathBuf, found: i64, known: i64 },
    #[error(
        "the database {path} cannot be opened for writing; check that the folder exists and that this user may write \
         to it",
        path = path.display()
    )]
    NotWritable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the database {path} is not opened: {what}", path = path.display())]
    Unsafe { path: PathBuf, what: String },
    #[error("the database {path} cannot be used", path = path.display())]
    Backend {
        path: PathBuf,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
