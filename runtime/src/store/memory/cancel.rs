//! Requests of the memory backend that are cancelled.

use bytes::Bytes;
use http::HeaderMap;

use super::Tables;
use crate::id::RequestId;
use crate::store::cancel::{CancelView, Phase};
use crate::store::record::{Claim, RequestClaim, RequestState};

impl Tables {
    pub(super) fn standing(&self, id: &RequestId) -> Option<CancelView> {
        let row = self.requests.get(id)?;
        let phase = match row.state {
            RequestState::Queued => {
                Phase::Queued { epoch: row.epoch, registration: row.registration.clone(), bytes: row.waiting_bytes() }
            }
            RequestState::Running => Phase::Running { cancelled: row.cancelled },
            RequestState::Settled(_) => Phase::Settled,
        };
        Some(CancelView { route: row.route().to_owned(), phase })
    }

    pub(super) fn unregistered(&self, id: &RequestId, route: &str) -> Option<(HeaderMap, Bytes)> {
        let row = self.requests.get(id).filter(|row| row.route() == route && row.registration.is_none())?;
        (row.state == RequestState::Queued).then(|| row.payload())
    }

    /// The claim under which it runs.
    pub(super) fn cancel_running(&mut self, id: &RequestId) -> Option<RequestClaim> {
        let row = self.requests.get_mut(id).filter(|row| row.state == RequestState::Running)?;
        row.cancelled = true;
        Some(Claim { id: id.clone(), epoch: row.epoch })
    }
}
