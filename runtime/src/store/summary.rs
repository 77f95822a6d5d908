//! A request as it is told to those who ask: without what may be large, which is read piece by piece.
//!
//! An outcome never changes, so pieces that are read one after another are those of one text, or there are none any more.

use bytes::Bytes;

use super::{Error, Store};
use crate::id::RequestId;
use crate::report::{EndReason, Status};
use crate::time::Timestamp;

/// JSON of up to so many bytes comes with the summary.
pub(crate) const AT_ONCE: usize = 8 << 10;

/// A request as it is told.
#[derive(Clone, Debug)]
pub(crate) struct Summary {
    pub(crate) route: String,
    pub(crate) standing: Stage,
}

/// Where it stands.
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

/// How it ended.
#[derive(Clone, Debug)]
pub(crate) struct EndSummary {
    pub(crate) status: Status,
    /// Why, if that is told.
    pub(crate) reason: Option<EndReason>,
    pub(crate) finished: Timestamp,
    pub(crate) result: Option<Kept>,
    pub(crate) error: Option<Kept>,
}

/// JSON that the store keeps.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) len: usize,
    /// All of it, if it is small.
    pub(crate) whole: Option<Bytes>,
}

impl Kept {
    pub(super) fn of(json: &Bytes) -> Self {
        Self { len: json.len(), whole: (json.len() <= AT_ONCE).then(|| json.clone()) }
    }
}

/// Which JSON of an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Member {
    Result,
    Error,
}

impl Store {
    /// The request, if it is known, without what is large of it.
    pub(crate) async fn summary(&self, id: &RequestId) -> Result<Option<Summary>, Error> {
        self.reader()?.summary(id).await.map_err(Error::Backend)
    }

    /// Up to `len` bytes of a settled request's JSON, from `at` on. `None`: it is not there any more. Holds nothing of the store
    /// between two calls.
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
