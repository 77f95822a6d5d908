//! What a run leaves for the next run of its request.

use bytes::Bytes;

use crate::{Error, Store};
use postback_wire::id::RequestId;
use postback_wire::time::Timestamp;

/// Whether a checkpoint was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saved {
    Yes,
    /// The memory limit of a store in memory leaves no room for it. The one before is kept.
    NoRoom,
    /// The claim is not current: another run has taken over, or the request has ended.
    Stale,
}

/// What is shown about a checkpoint. The value itself belongs to the handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointLine {
    /// The size of the value, which is JSON.
    pub bytes: u64,
    /// The time when it was saved. `None`: an earlier version of this program has saved it.
    pub saved: Option<Timestamp>,
}

impl Store {
    /// Returns the checkpoint that the runs of this request have saved last. `None`: the store has no request with this
    /// id, or no run of it has saved one.
    pub async fn checkpoint(&self, id: &RequestId) -> Result<Option<Bytes>, Error> {
        self.reader()?.checkpoint(id).await.map_err(Error::Backend)
    }
}
