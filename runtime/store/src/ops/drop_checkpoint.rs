//! Deletes the checkpoint of a request that has ended.

use crate::Store;
use crate::error::Error;
use crate::local::Local;
use crate::operation::{Key, Operation, Untaken};
use postback_wire::id::RequestId;

/// The operation that deletes the checkpoint of a request that has ended. The checkpoint of another request stays.
#[derive(Debug)]
pub(crate) struct DropCheckpoint {
    pub id: RequestId,
}

impl Operation for DropCheckpoint {
    type Answer = ();

    fn key(&self) -> Option<Key> {
        Some(Key::Request(self.id.clone()))
    }

    fn announce(self, _: &Local, _: &mut Untaken) {}
}

impl Store {
    /// Deletes the checkpoint of a request that has ended. Without this call, the checkpoint is deleted together with the
    /// request.
    pub async fn drop_checkpoint(&self, id: RequestId) -> Result<(), Error> {
        self.ask(DropCheckpoint { id }).await
    }
}
