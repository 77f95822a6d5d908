//! The errors of the store.

use std::path::PathBuf;
use std::sync::Arc;

/// The reason why an operation failed. After an error, nothing of the operation was written. The only exception is
/// [`Error::Backend`]: if the commit itself failed and the store could not find out the outcome of the commit in time,
/// the operation may have been written, or may still be written. A caller can then check with the id: either the store
/// has the request or not, and a second settlement is stale.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The queue to the writer is full, or the memory backend is full.
    #[error("the store's queue is full; try again later")]
    Full,
    /// The store refuses new requests because of this bound: too many requests wait, or too little disk space is free.
    #[error("{0}")]
    Refused(Bound),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// The backend can never write this operation, not even if the disk and the device work.
    #[error("the store can never write this operation")]
    Unwritable(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// The backend cannot write or cannot read at the moment. For example, the disk is full, the database file was
    /// deleted, or an I/O error occurred.
    #[error("the store cannot read or write at the moment")]
    Backend(#[source] Arc<dyn std::error::Error + Send + Sync>),
}

/// Logs that an operation that writes has failed. The level is debug for [`Error::Backend`], because the store itself
/// logs each cause once, even if many operations fail for this cause. The level is warn for every other error.
#[macro_export]
macro_rules! warn_unless_logged {
    ($error:expr, $($said:tt)+) => {
        match $error {
            $crate::Error::Backend(_) => tracing::debug!($($said)+),
            _ => tracing::warn!($($said)+),
        }
    };
}

/// The limit that refuses a new request. Each variant has its own setting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Bound {
    #[error("{0} requests wait already (worker.max_queued)")]
    Rows(u64),
    #[error("the requests that wait would exceed {0} bytes (worker.max_queued_bytes)")]
    Bytes(u64),
    #[error("{0} requests of this token wait already; wait until some of them have begun")]
    OwnerRows(u64),
    #[error("the requests of this token that wait would exceed {0} bytes; wait until some of them have begun")]
    OwnerBytes(u64),
    #[error("{most} requests of {route} wait already (max_queued of the route)")]
    RouteRows { route: Arc<str>, most: u64 },
    #[error("the requests of {route} that wait would exceed {most} bytes (max_queued_bytes of the route)")]
    RouteBytes { route: Arc<str>, most: u64 },
    #[error(
        "the disk of the store has {free} bytes free; {reserve} bytes are reserved for accepted requests \
         (store.disk_reserve)"
    )]
    Disk { free: u64, reserve: u64 },
}

impl Bound {
    /// Returns the same bound as a bound of one owner.
    pub(crate) fn of_owner(self) -> Self {
        match self {
            Self::Rows(most) => Self::OwnerRows(most),
            Self::Bytes(most) => Self::OwnerBytes(most),
            other => other,
        }
    }

    /// Returns the bound of a route, for a bound of all routes together.
    pub(crate) fn of_route(self, route: &Arc<str>) -> Self {
        match self {
            Self::Rows(most) => Self::RouteRows { route: route.clone(), most },
            Self::Bytes(most) => Self::RouteBytes { route: route.clone(), most },
            other => other,
        }
    }

    /// Returns the name of the bound, which is the value of the label `reason` in the metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Rows(_) => "max_queued",
            Self::Bytes(_) => "max_queued_bytes",
            Self::OwnerRows(_) => "token_max_queued",
            Self::OwnerBytes(_) => "token_max_queued_bytes",
            Self::RouteRows { .. } => "max_queued_of_route",
            Self::RouteBytes { .. } => "max_queued_bytes_of_route",
            Self::Disk { .. } => "disk_reserve",
        }
    }
}

/// The reason why the store cannot be opened.
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
    #[error("the database {at} is in use by {by}; stop that program, or set store.url to another database or schema")]
    DatabaseInUse { at: String, by: String },
    #[error(
        "the database {at} has schema version {found}, and this program knows versions up to {known}; run the newer \
         program, or set store.url to another database or schema"
    )]
    DatabaseNewer { at: String, found: i64, known: i64 },
    #[error("the database {at} cannot be used")]
    Database {
        at: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("the database {path} cannot be used", path = path.display())]
    Backend {
        path: PathBuf,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
