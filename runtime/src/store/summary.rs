//! The summary of a request, which callers of the API read. A large result or error is not part of the summary: it is
//! read piece by piece.
//!
//! An outcome never changes. So pieces that are read one after another belong to one text, until the text is deleted.

use bytes::Bytes;

use super::{Error, Store};
use crate::id::RequestId;
use crate::report::{EndReason, Status};
use crate::time::Timestamp;

/// JSON of up to this many bytes is part of the summary.
pub(crate) const AT_ONCE: usize = 8 << 10;

/// A request without its large JSON.
#[derive(Clone, Debug)]
pub(crate) struct Summary {
    pub(crate) route: String,
    pub(crate) standing: Stage,
}

/// The state of a request, with the end of a settled request.
#[derive(Clone, Debug)]
pub(crate) enum Stage {
    Queued,
    Running,
    Settled(EndSummary),
}

impl Summary {
    pub(crate) fn is_settled(&self) -> bool {
        matches!(self.standing, Stage::Settled(_))
    }
}

/// How a request ended.
#[derive(Clone, Debug)]
pub(crate) struct EndSummary {
    pub(crate) status: Status,
    /// Why the request was not completed, if the registration allows to say so.
    pub(crate) reason: Option<EndReason>,
    pub(crate) finished: Timestamp,
    pub(crate) result: Option<Kept>,
    pub(crate) error: Option<Kept>,
}

/// A JSON text of a settled request that the store keeps.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) len: usize,
    /// The whole text, if it has at most [`AT_ONCE`] bytes.
    pub(crate) whole: Option<Bytes>,
}

impl Kept {
    pub(super) fn of(json: &Bytes) -> Self {
        Self { len: json.len(), whole: (json.len() <= AT_ONCE).then(|| json.clone()) }
    }
}

/// Which JSON text of an outcome: the result or the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Member {
    Result,
    Error,
}

impl Store {
    /// The request's summary. `None`: no request has this id.
    pub(crate) async fn summary(&self, id: &RequestId) -> Result<Option<Summary>, Error> {
        self.reader()?.summary(id).await.map_err(Error::Backend)
    }

    /// Reads up to `len` bytes of a settled request's JSON, from byte `at` on. `None`: the JSON is no longer stored.
    /// Between two calls, nothing of the store is held.
    pub(crate) async fn piece(
        &self,
        id: &RequestId,
        member: Member,
        at: usize,
        len: usize,
    ) -> Result<Option<Bytes>, Error> {
        self.reader()?.piece(id, member, at, len).await.map_err(Error::Backend)
    }
}
