//! Reads what the store has to know of a request before it can cancel the request.

use bytes::Bytes;
use http::HeaderMap;

use super::Tables;
use crate::cancel::{CancelView, Phase};
use crate::record::{NewRequest, RequestState};
use postback_wire::id::RequestId;

impl Tables {
    pub(super) fn cancel_view(&self, id: &RequestId) -> Option<CancelView> {
        let row = self.requests.get(id)?;
        let phase = match row.state {
            RequestState::Queued => Phase::Queued {
                epoch: row.epoch,
                registration: row.registration.as_deref().cloned(),
                bytes: row.waiting_bytes(),
            },
            RequestState::Running => Phase::Running { cancelled: row.cancelled },
            RequestState::Settled(_) => Phase::Settled,
        };
        let NewRequest { route, owner, extras, .. } = &row.new;
        Some(CancelView { route: route.clone(), owner: owner.clone(), extras: extras.clone(), phase })
    }

    pub(super) fn unregistered(&self, id: &RequestId, route: &str) -> Option<(HeaderMap, Bytes)> {
        let row = self.requests.get(id).filter(|row| row.new.route == route && row.registration.is_none())?;
        (row.state == RequestState::Queued).then(|| (row.new.headers.clone(), row.new.body.clone()))
    }
}
