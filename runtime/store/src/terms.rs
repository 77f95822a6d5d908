//! What a caller may ask for beside the payload of a request: when it runs, how long, before which others, and that a
//! repeated call is the same request.

use std::sync::Arc;
use std::time::Duration;

use postback_wire::time::Timestamp;

/// When and how a request runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Requests of a higher priority run first, among the waiting requests of one route and one owner.
    pub priority: i8,
    /// How long the request waits before it is due. `None`: the request is due immediately.
    pub delay: Option<Duration>,
    /// The time by the wall clock until which the first run must begin. `None`: there is no such time.
    pub deadline: Option<Timestamp>,
    /// The longest time that a run may take, if it is shorter than the limit of the route.
    pub timeout: Option<Duration>,
}

/// The idempotency key of a request. The store keeps the key as long as the request. A second request of the same owner
/// and route with the same key is not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    pub key: Arc<str>,
    /// A digest of what makes two calls the same: the body of the request.
    pub digest: [u8; 32],
}
