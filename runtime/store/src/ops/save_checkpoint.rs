//! Stores the checkpoint of a running request.

use bytes::Bytes;

use crate::Store;
use crate::checkpoint::Saved;
use crate::error::Error;
use crate::local::Local;
use crate::operation::{Effect, Key, Operation, Untaken};
use crate::record::RequestClaim;

/// The operation that stores the checkpoint of the run under this claim, in place of the one before.
#[derive(Debug)]
pub(crate) struct SaveCheckpoint {
    pub claim: RequestClaim,
    pub value: Bytes,
}

impl Operation for SaveCheckpoint {
    type Answer = Saved;

    fn key(&self) -> Option<Key> {
        Some(Key::Request(self.claim.id.clone()))
    }

    fn own_bytes(&self) -> usize {
        self.value.len()
    }

    fn effect(answer: &Saved) -> Effect {
        match answer {
            Saved::Yes => Effect::Written,
            Saved::NoRoom => Effect::Silent,
            Saved::Stale => Effect::Stale,
        }
    }

    fn announce(self, _: &Local, _: &mut Untaken) {}
}

impl Store {
    /// Stores the checkpoint of the run under this claim, in place of the one before. If the answer is [`Saved::Yes`],
    /// the checkpoint is committed: the next run of the request gets it.
    pub async fn save_checkpoint(&self, claim: RequestClaim, value: Bytes) -> Result<Saved, Error> {
        self.ask(SaveCheckpoint { claim, value }).await
    }
}
