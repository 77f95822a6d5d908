//! How far a run has come, as its handler says. The store keeps what a request has told last.

use crate::{Error, Store};
use postback_wire::id::RequestId;
use postback_wire::report::Json;
use postback_wire::time::Timestamp;

/// What a handler says about its run.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// How much of the work is done, from 0 to 1. `None`: the handler does not know it.
    pub fraction: Option<f64>,
    pub message: Option<String>,
    /// Anything else. The JSON is on one line.
    pub detail: Option<Json>,
    pub at: Timestamp,
}

/// What a handler has told last, and its place among all that the request has told.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// The epoch of the run that has told it.
    pub epoch: u32,
    /// How many times the request has told something, in all its runs. It grows by one each time.
    pub sequence: u64,
    pub told: Told,
}

impl Progress {
    /// Returns what is stored when a run with this epoch tells something after `earlier`.
    pub(crate) fn after(earlier: Option<&Self>, epoch: u32, told: Told) -> Self {
        Self { epoch, sequence: earlier.map_or(0, |earlier| earlier.sequence) + 1, told }
    }
}

impl Store {
    /// Returns what the last run of this request has told last. `None`: the store has no request with this id, or its
    /// last run has told nothing.
    pub async fn progress(&self, id: &RequestId) -> Result<Option<Progress>, Error> {
        self.reader()?.progress(id).await.map_err(Error::Backend)
    }
}
