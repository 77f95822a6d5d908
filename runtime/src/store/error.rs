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
    /// It was closed.
    #[error("the store is closed")]
    Closed,
    /// The backend refused: disk full, file gone, I/O error.
    #[error("the store cannot be used at the moment")]
    Backend(#[source] Arc<dyn std::error::Error + Send + Sync>),
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
