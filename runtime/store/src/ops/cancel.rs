//! Cancels a request: settles a waiting request, and marks a running request as cancelled.

use std::sync::Arc;

use crate::Store;
use crate::backlog::Waited;
use crate::cancel::{CancelView, Phase};
use crate::error::Error;
use crate::feed::Change;
use crate::local::Local;
use crate::operation::{Key, Operation};
use crate::ops::SettleRequest;
use crate::overview::RequestStatus;
use crate::record::{Claim, NewReport, Registration, RequestClaim, Settled};
use crate::terms::Extras;
use postback_wire::id::RequestId;
use postback_wire::report::Outcome;

/// The operation that marks a running request as cancelled.
#[derive(Debug)]
pub(crate) struct CancelRunning {
    pub id: RequestId,
}

impl Operation for CancelRunning {
    /// The claim under which the request runs. `None`: the request does not run, so the operation has not marked it as
    /// cancelled.
    type Answer = Option<RequestClaim>;

    fn key(&self) -> Option<Key> {
        Some(Key::Request(self.id.clone()))
    }

    fn changes(&self, answer: &Option<RequestClaim>, changes: &mut Vec<Change>) {
        if answer.is_some() {
            let (id, status) = (self.id.clone(), RequestStatus::Running);
            changes.push(Change::Request { id, route: None, status, cancelling: true });
        }
    }

    fn committed(&self, answer: &Option<RequestClaim>, local: &Local) {
        if let Some(claim) = answer {
            local.wake.cancels.cancel(claim);
        }
    }
}

/// The result of [`Store::cancel`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// The request was waiting. The request is settled now, with this outcome.
    AtOnce(Outcome),
    /// The request is running. The store has told the run to stop.
    Stopping,
    /// The request had already ended. Nothing was changed.
    Over,
    /// The store has no request with this id, this route and this owner.
    Unknown,
}

impl Store {
    /// Cancels a request that is stored, as [`cancel`](Self::cancel) does.
    pub(crate) async fn cancel_stored(
        &self,
        id: &RequestId,
        route: &str,
        owner: Option<&str>,
        end: &mut impl FnMut(Option<Registration>, Option<Arc<Extras>>) -> (Outcome, Vec<NewReport>),
    ) -> Result<Cancelled, Error> {
        // If several callers cancel one request at the same time, only one of them continues here. The other callers
        // wait, and then find that the request is already cancelled.
        let _turn = self.0.shared.local.wake.cancels.turn(id).await;
        loop {
            let view = self.reader()?.cancel_view(id).await.map_err(Error::Backend)?;
            let is_theirs = |view: &CancelView| view.route == route && owner.is_none_or(|owner| *owner == *view.owner);
            let Some(CancelView { phase, route, owner, extras }) = view.filter(is_theirs) else {
                return Ok(Cancelled::Unknown);
            };
            match phase {
                Phase::Settled => return Ok(Cancelled::Over),
                Phase::Queued { epoch, registration, bytes } => {
                    let (outcome, reports) = end(registration, extras.clone());
                    let (claim, waited) = (Claim { id: id.clone(), epoch }, Waited { route, owner, bytes });
                    let settle = SettleRequest::queued(claim, waited, outcome.clone(), reports);
                    if self.ask(settle).await? == Settled::Current {
                        return Ok(Cancelled::AtOnce(outcome));
                    }
                }
                Phase::Running { cancelled: true } => return Ok(Cancelled::Stopping),
                Phase::Running { cancelled: false } => {
                    if self.ask(CancelRunning { id: id.clone() }).await?.is_some() {
                        return Ok(Cancelled::Stopping);
                    }
                }
            }
        }
    }
}
