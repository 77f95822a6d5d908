//! The change feed: tells whoever listens that a commit has changed the state of a request or of a delivery.
//!
//! While nobody listens, the feed costs one look at a counter for each batch. A listener that is too slow loses the
//! oldest changes and is told how many. It delays nobody.

use std::sync::Arc;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::Store;
use crate::overview::{DeliveryStatus, RequestStatus};
use postback_wire::id::{ReportId, RequestId};

/// The number of changes that the feed keeps for its slowest listener.
const KEPT: usize = 4_096;

/// A change that was committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Request {
        id: RequestId,
        /// `None`: the operation does not know the route.
        route: Option<Arc<str>>,
        status: RequestStatus,
        /// Whether a running request was told to stop.
        cancelling: bool,
    },
    Delivery {
        id: ReportId,
        /// What the report is about. `None`: the operation does not know it.
        subject: Option<Arc<str>>,
        status: DeliveryStatus,
    },
    /// A running request has told how far it is.
    Progress { id: RequestId, sequence: u64 },
    /// Several deliveries have changed, and the operation does not know which ones.
    Many,
}

impl Change {
    pub(crate) fn request(id: &RequestId, status: RequestStatus) -> Self {
        Self::Request { id: id.clone(), route: None, status, cancelling: false }
    }

    pub(crate) fn delivery(id: ReportId, status: DeliveryStatus) -> Self {
        Self::Delivery { id, subject: None, status }
    }
}

/// What a listener receives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    Change(Change),
    /// The listener was too slow, and has missed this number of changes.
    Lagged(u64),
}

/// A listener of the change feed.
pub struct Feed(broadcast::Receiver<Change>);

impl Feed {
    /// Waits for the next change. `None`: the store is closed. The future is cancel-safe.
    pub async fn next(&mut self) -> Option<Heard> {
        match self.0.recv().await {
            Ok(change) => Some(Heard::Change(change)),
            Err(RecvError::Lagged(missed)) => Some(Heard::Lagged(missed)),
            Err(RecvError::Closed) => None,
        }
    }
}

/// The sending half of the feed.
pub(crate) struct Changes(broadcast::Sender<Change>);

impl Default for Changes {
    fn default() -> Self {
        Self(broadcast::Sender::new(KEPT))
    }
}

impl Changes {
    pub(crate) fn is_heard(&self) -> bool {
        self.0.receiver_count() > 0
    }

    pub(crate) fn send(&self, changes: impl IntoIterator<Item = Change>) {
        for change in changes {
            // Sending fails only if the last listener has just gone.
            let _ = self.0.send(change);
        }
    }
}

impl Store {
    /// Returns a listener, which receives the changes that are committed from now on.
    pub fn feed(&self) -> Feed {
        Feed(self.0.shared.local.changes.0.subscribe())
    }
}
