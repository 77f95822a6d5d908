//! The summary of a request, which callers of the API read. A large result or error is not part of the summary: it is
//! read piece by piece.
//!
//! An outcome never changes. So pieces that are read one after another belong to one text, until the text is deleted.

use bytes::Bytes;

use crate::Store;
use crate::error::Error;
use postback_wire::id::RequestId;
use postback_wire::report::{EndReason, Status};
use postback_wire::time::Timestamp;

/// JSON of up to this many bytes is part of the summary.
pub(crate) const AT_ONCE: usize = 8 << 10;

/// A request without its large JSON.
#[derive(Clone, Debug)]
pub struct Summary {
    pub route: String,
    pub standing: Stage,
}

/// The state of a request, with the end of a settled request.
#[derive(Clone, Debug)]
pub enum Stage {
    Queued,
    Running,
    Settled(EndSummary),
}

impl Summary {
    pub fn is_settled(&self) -> bool {
        matches!(self.standing, Stage::Settled(_))
    }
}

/// How a request ended.
#[derive(Clone, Debug)]
pub struct EndSummary {
    pub status: Status,
    /// Why the request was not completed, if the registration allows to say so.
    pub reason: Option<EndReason>,
    pub finished: Timestamp,
    pub result: Option<Kept>,
    pub error: Option<Kept>,
}

/// A JSON text of a settled request that the store keeps.
#[derive(Clone, Debug)]
pub struct Kept {
    pub len: usize,
    /// The whole text, if it has at most [`AT_ONCE`] bytes.
    pub whole: Option<Bytes>,
}

impl Kept {
    pub(super) fn of(json: &Bytes) -> Self {
        Self { len: json.len(), whole: (json.len() <= AT_ONCE).then(|| json.clone()) }
    }
}

/// Which JSON text of an outcome: the result or the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Member {
    Result,
    Error,
}

impl Store {
    /// The request's summary. `None`: no request has this id.
    pub async fn summary(&self, id: &RequestId) -> Result<Option<Summary>, Error> {
        self.reader()?.summary(id).await.map_err(Error::Backend)
    }

    /// Reads up to `len` bytes of a settled request's JSON, from byte `at` on. `None`: the JSON is no longer stored.
    /// Between two calls, nothing of the store is held.
    pub async fn piece(&self, id: &RequestId, member: Member, at: usize, len: usize) -> Result<Option<Bytes>, Error> {
        self.reader()?.piece(id, member, at, len).await.map_err(Error::Backend)
    }
}
