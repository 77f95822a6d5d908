//! Stores how far a run has come.

use crate::Store;
use crate::error::Error;
use crate::feed::Change;
use crate::local::Local;
use crate::operation::{Effect, Key, Operation, Untaken};
use crate::progress::Told;
use crate::record::RequestClaim;
use crate::sizes::told_bytes;

/// The operation that stores what the run under this claim says about its progress. It replaces what the request has
/// told before.
#[derive(Debug)]
pub(crate) struct TellProgress {
    pub claim: RequestClaim,
    pub told: Told,
}

impl Operation for TellProgress {
    /// The sequence number of the progress. `None`: the claim is not current.
    type Answer = Option<u64>;

    fn key(&self) -> Option<Key> {
        Some(Key::Request(self.claim.id.clone()))
    }

    fn own_bytes(&self) -> usize {
        told_bytes(&self.told)
    }

    fn changes(&self, answer: &Option<u64>, changes: &mut Vec<Change>) {
        if let Some(sequence) = *answer {
            changes.push(Change::Progress { id: self.claim.id.clone(), sequence });
        }
    }

    fn effect(answer: &Option<u64>) -> Effect {
        if answer.is_some() { Effect::Written } else { Effect::Stale }
    }

    fn announce(self, local: &Local, _: &mut Untaken) {
        local.wake.watches.changed(&self.claim.id);
    }
}

impl Store {
    /// Stores how far the run under this claim has come. Returns the sequence number of the progress. `None`: the claim
    /// is not current, so nothing was stored.
    pub async fn tell_progress(&self, claim: RequestClaim, told: Told) -> Result<Option<u64>, Error> {
        self.ask(TellProgress { claim, told }).await
    }
}
