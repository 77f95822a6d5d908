//! The timeline of a request: each change of its status, with the time of the change.

use std::time::Duration;

use crate::Store;
use crate::error::Error;
use crate::progress::Progress;
use crate::record::ClaimedRequest;
use crate::summary::Summary;
use postback_wire::id::RequestId;
use postback_wire::time::Timestamp;

/// How a run ended that did not end its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunEnd {
    /// The run failed, and the request runs again.
    Failed,
    /// The run was put back, for example because the server stopped.
    PutBack,
    /// The process ended during the run.
    Lost,
}

impl RunEnd {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::PutBack => "put_back",
            Self::Lost => "lost",
        }
    }

    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Failed, Self::PutBack, Self::Lost].into_iter().find(|end| end.as_str() == text)
    }
}

/// A run that did not end its request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EarlierRun {
    /// The epoch of the claim of this run. The epochs of a request grow with each run.
    pub epoch: u32,
    pub started: Timestamp,
    pub ended: Timestamp,
    pub end: RunEnd,
    /// The error of the run, for the operator. `None`: the run has no error.
    pub detail: Option<String>,
}

/// Everything that has happened to a request so far, in the order of time. All of it is read at one moment.
#[derive(Clone, Debug)]
pub struct Timeline {
    pub created: Timestamp,
    /// The earlier runs, the oldest first. At most [`RUNS`] of them.
    pub runs: Vec<EarlierRun>,
    /// The epoch of the request: the number of its claims.
    pub epoch: u32,
    /// The time when the last run began. `None`: no run has begun, or the request waits again.
    pub started: Option<Timestamp>,
    /// What the request has told last about its progress, in its last run or in an earlier one.
    pub progress: Option<Progress>,
    pub summary: Summary,
}

/// The largest number of earlier runs in a [`Timeline`]. If a request has more earlier runs, the last ones are in it,
/// because a client that follows the request has been told the others. Tests have fewer, so that they are fast.
pub(crate) const RUNS: usize = if cfg!(test) { 20 } else { 2_000 };

impl Store {
    /// Returns the timeline of a request. `None`: the store has no request with this id.
    pub async fn timeline(&self, id: &RequestId) -> Result<Option<Timeline>, Error> {
        self.reader()?.timeline(id).await.map_err(Error::Backend)
    }
}

impl ClaimedRequest {
    /// Returns the longest time that a run of this request may take, if the route allows `limit`.
    pub fn timeout(&self, limit: Duration) -> Duration {
        self.terms.timeout.map_or(limit, |timeout| timeout.min(limit))
    }
}
