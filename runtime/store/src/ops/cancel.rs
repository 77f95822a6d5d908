//! Cancels a request: settles a waiting request, and marks a running request as cancelled.

use crate::Store;
use crate::backlog::Waited;
use crate::cancel::{CancelView, Phase};
use crate::error::Error;
use crate::local::Local;
use crate::operation::{Key, Operation};
use crate::ops::SettleRequest;
use crate::record::{Claim, NewReport, Registration, RequestClaim, Settled};
use postback_wire::id::RequestId;
use postback_wire::report::Outcome;

/// Marks a request as cancelled, if the request runs.
#[derive(Debug)]
pub(crate) struct CancelRunning {
    pub id: RequestId,
}

impl Operation for CancelRunning {
    /// The claim under which the request runs. `None`: the request does not run, so it was not marked.
    type Answer = Option<RequestClaim>;

    fn key(&self) -> Option<Key> {
        Some(Key::Request(self.id.clone()))
    }

    fn committed(&self, answer: &Option<RequestClaim>, local: &Local) {
        if let Some(claim) = answer {
            local.wake.cancels.cancel(claim);
        }
    }
}

/// What [`Store::cancel`] did with the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// The request was waiting. It is settled now, with this outcome.
    AtOnce(Outcome),
    /// The request is running. Its run was asked to stop.
    Stopping,
    /// The request had ended before. Nothing was changed.
    Over,
    /// The store has no request with this id and this route.
    Unknown,
}

impl Store {
    /// Cancels the request with this id and route. If the request waits, `end` makes its outcome and its reports from
    /// the registration of an earlier run. `end` is called again if, in the meantime, the request was claimed and put
    /// back.
    pub async fn cancel(
        &self,
        id: &RequestId,
        route: &str,
        mut end: impl FnMut(Option<Registration>) -> (Outcome, Vec<NewReport>),
    ) -> Result<Cancelled, Error> {
        // If many callers cancel one request at the same time, they take turns. The first caller commits the
        // cancellation, and the others find it done.
        let _turn = self.0.shared.local.wake.cancels.turn(id).await;
        loop {
            let view = self.reader()?.cancel_view(id).await.map_err(Error::Backend)?;
            let Some(CancelView { phase, route }) = view.filter(|view| view.route == route) else {
                return Ok(Cancelled::Unknown);
            };
            match phase {
                Phase::Settled => return Ok(Cancelled::Over),
                Phase::Queued { epoch, registration, bytes } => {
                    let (outcome, reports) = end(registration);
                    let (claim, waited) = (Claim { id: id.clone(), epoch }, Waited { route, bytes });
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
