//! What can go wrong with a store.

use std::path::PathBuf;
use std::sync::Arc;

/// Why the store did not do what it was asked. Nothing of the operation was written. Only after [`Error::Backend`] may it have
/// been, or still be: if the commit itself failed, and its outcome could not be looked up in time. Its id tells: a request is there
/// or not, a settlement is stale the second time.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Too much waits already.
    #[error("the store's queue is full")]
    Full,
    /// New requests are refused: one of the bounds on what waits is reached.
    #[error("{0}")]
    Refused(Bound),
    /// It was closed.
    #[error("the store is closed")]
    Closed,
    /// The backend will never write it, whatever becomes of disk and device.
    #[error("the store cannot write this, now or later")]
    Unwritable(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// The backend refused: disk full, file gone, I/O error.
    #[error("the store cannot be used at the moment")]
    Backend(#[source] Arc<dyn std::error::Error + Send + Sync>),
}

/// Logs that an operation which writes has failed: as a detail where the store has told the cause, which it does once, whatever
/// the number of operations is that meet it; as a warning else.
macro_rules! warn_unless_told {
    ($error:expr, $($said:tt)+) => {
        match $error {
            $crate::store::Error::Backend(_) => tracing::debug!($($said)+),
            _ => tracing::warn!($($said)+),
        }
    };
}
pub(crate) use warn_unless_told;

/// What keeps a new request out, and the setting that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Bound {
    #[error("{0} requests wait already (worker.max_queued)")]
    Rows(u64),
    #[error("the requests that wait have {0} bytes already (worker.max_queued_bytes)")]
    Bytes(u64),
    #[error(
        "the disk of the store has {free} bytes left, of which {reserve} are kept for what was accepted (store.disk_reserve)"
    )]
    Disk { free: u64, reserve: u64 },
}

impl Bound {
    /// As a label of metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rows(_) => "max_queued",
            Self::Bytes(_) => "max_queued_bytes",
            Self::Disk { .. } => "disk_reserve",
        }
    }
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("the database {path} is in use by process {pid}; stop that one, or set store.url to another file", path = path.display())]
    InUse { path: PathBuf, pid: String },
    #[error("the database {path} has schema {found}, newer than the {known} that this program knows; run the newer program, or set store.url to another file", path = path.display())]
    Newer { path: PathBuf, found: i64, known: i64 },
    #[error("the database {path} cannot be opened for writing; check that the folder exists and that this user may write to it", path = path.display())]
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
