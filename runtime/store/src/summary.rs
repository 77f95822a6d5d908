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

/// The largest number of bytes of a JSON text that is part of the summary.
pub(crate) const AT_ONCE: usize = 8 << 10;

/// A request without its large JSON texts.
#[derive(Clone, Debug)]
pub struct Summary {
    pub route: String,
    pub stage: Stage,
}

/// The state of a request. For a settled request also how it ended.
#[derive(Clone, Debug)]
pub enum Stage {
    Queued,
    Running,
    Settled(EndSummary),
}

impl Summary {
    pub fn is_settled(&self) -> bool {
        matches!(self.stage, Stage::Settled(_))
    }
}

/// How a request ended.
#[derive(Clone, Debug)]
pub struct EndSummary {
    pub status: Status,
    /// Why the request was not completed. `None` if the request was completed, or if its registration does not allow to
    /// show the reason.
    pub reason: Option<EndReason>,
    pub finished: Timestamp,
    pub result: Option<Kept>,
    pub error: Option<Kept>,
}

/// The JSON text of a settled request, as far as the store keeps it.
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

/// Which JSON text of an outcome is meant: the result or the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Member {
    Result,
    Error,
}

impl Store {
    /// Returns the summary of the request. `None`: no request has this id.
    pub async fn summary(&self, id: &RequestId) -> Result<Option<Summary>, Error> {
        self.reader()?.summary(id).await.map_err(Error::Backend)
    }

    /// Reads up to `len` bytes of a settled request's JSON text, from byte `at` on. `None`: the text is no longer
    /// stored. Between two calls the store keeps no lock and no transaction for the caller.
    pub async fn piece(&self, id: &RequestId, member: Member, at: usize, len: usize) -> Result<Option<Bytes>, Error> {
        self.reader()?.piece(id, member, at, len).await.map_err(Error::Backend)
    }
}
