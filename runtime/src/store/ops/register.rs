//! Stores with a running request where its outcome is to be reported.

use crate::store::operation::{Effect, Key, Operation};
use crate::store::record::{Registration, RequestClaim, Settled};
use crate::store::{Error, Store};

/// Stores the registration with the request that runs under this claim.
#[derive(Debug)]
pub(crate) struct Register {
    pub(crate) claim: RequestClaim,
    pub(crate) registration: Registration,
}

impl Operation for Register {
    type Answer = Settled;

    fn key(&self) -> Option<Key> {
        Some(Key::Request(self.claim.id.clone()))
    }

    fn effect(answer: &Settled) -> Effect {
        (*answer).into()
    }
}

impl Store {
    /// Stores with a running request where its outcome is to be reported.
    pub(crate) async fn register(&self, claim: RequestClaim, registration: Registration) -> Result<Settled, Error> {
        self.ask(Register { claim, registration }).await
    }
}
