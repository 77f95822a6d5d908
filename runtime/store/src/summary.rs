//! The summary of a request, which callers of the API read. A large result or error is not part of the summary: it is
//! read piece by piece.
//!
//! An outcome never changes. So pieces that are read one after another belong to one text, until the text is deleted.

use std::sync::Arc;

use bytes::Bytes;

use crate::Store;
use crate::error::Error;
use crate::record::Owner;
use crate::terms::Extras;
use postback_wire::id::RequestId;
use postback_wire::report::{EndReason, Status};
use postback_wire::time::Timestamp;

/// The largest JSON text that a summary contains, in bytes.
pub(crate) const AT_ONCE: usize = 8 << 10;

/// The data of a request without its large JSON texts.
#[derive(Clone, Debug)]
pub struct Summary {
    pub route: String,
    pub owner: Owner,
    pub extras: Option<Arc<Extras>>,
    pub stage: Stage,
}

/// The state of a request. The state of a settled request includes how the request ended.
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

/// How a settled request ended.
#[derive(Clone, Debug)]
pub struct EndSummary {
    pub status: Status,
    /// The reason why the request was not completed. `None`: the request was completed, or its registration forbids to
    /// show the reason.
    pub reason: Option<EndReason>,
    pub finished: Timestamp,
    pub result: Option<Kept>,
    /// Whether the result is outside the store, and `result` says where.
    pub is_elsewhere: bool,
    pub error: Option<Kept>,
}

/// The JSON text of a settled request that the store holds: its length, and the text if it is small.
#[derive(Clone, Debug)]
pub struct Kept {
    pub len: usize,
    /// The whole text, if the text has at most [`AT_ONCE`] bytes.
    pub whole: Option<Bytes>,
}

impl Kept {
    pub(super) fn of(json: &Bytes) -> Self {
        Self { len: json.len(), whole: (json.len() <= AT_ONCE).then(|| json.clone()) }
    }
}

/// One of the two JSON texts of an outcome: the result or the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Member {
    Result,
    Error,
}

impl Store {
    /// Returns the summary of a request that is stored. `None`: the store has no request with this id.
    pub(crate) async fn stored_summary(&self, id: &RequestId) -> Result<Option<Summary>, Error> {
        self.reader()?.summary(id).await.map_err(Error::Backend)
    }

    /// Reads up to `len` bytes of a JSON text of a settled request, starting at byte `at`. `None`: the text is not
    /// stored any more. Between two calls the store holds no lock and no transaction for the caller.
    pub async fn piece(&self, id: &RequestId, member: Member, at: usize, len: usize) -> Result<Option<Bytes>, Error> {
        self.reader()?.piece(id, member, at, len).await.map_err(Error::Backend)
    }
}
