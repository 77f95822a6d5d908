//! Stores the registration of a running request: where its outcome is to be reported.

use crate::Store;
use crate::error::Error;
use crate::operation::{Effect, Key, Operation};
use crate::record::{Registration, RequestClaim, Settled};

/// The operation that stores a registration with the request that runs under this claim. A registration says to which
/// webhooks the outcome is reported.
#[derive(Debug)]
pub(crate) struct Register {
    pub claim: RequestClaim,
    pub registration: Registration,
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
    /// Stores a registration with a running request. A registration says to which webhooks the outcome is reported.
    pub async fn register(&self, claim: RequestClaim, registration: Registration) -> Result<Settled, Error> {
        self.ask(Register { claim, registration }).await
    }
}
