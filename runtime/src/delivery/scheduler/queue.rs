//! What the scheduler knows about one queue. A queue belongs to an origin, or to a URL with a circuit of its own.

use std::sync::Arc;

use super::failing::Failing;
use crate::policy::breaker::Breaker;
use crate::policy::turns::{Key, SinceStart};

/// The queue of an origin, or the queue of a URL with a circuit of its own.
pub(super) struct Queue {
    /// The origin or the URL to which the queue belongs.
    pub(super) name: Arc<str>,
    /// If this queue belongs to a URL, the key of the queue of the URL's origin.
    pub(super) origin: Option<Key>,
    /// The queues of the origin's URLs that have circuits of their own. Each entry is the hash of a URL, and the key of
    /// the URL's queue.
    pub(super) url_queues: Vec<(u64, Key)>,
    /// The URLs of the origin that failed and have no queue of their own.
    pub(super) failing: Failing,
    /// The number of attempts in flight. For an origin, the attempts of its URL queues are included.
    pub(super) in_flight: usize,
    pub(super) breaker: Breaker,
    /// The units of memory that the waiting reports of this queue use.
    pub(super) waiting: usize,
    /// Whether the store may have reports that are parked under the name of this queue.
    pub(super) parked: bool,
    /// The number of reports of this queue that are being parked: the store has not committed them as parked yet.
    pub(super) parking: usize,
    /// How many reports the store has committed as parked under the name of this queue.
    pub(super) parkings: u64,
    /// The value of `parkings` when the claim in progress started. If `parkings` has grown since then, the claim may
    /// have missed reports, even if it finds no more reports.
    pub(super) claim: Option<u64>,
    /// Whether the queue is in the list of queues whose parked reports are claimed next.
    pub(super) to_claim: bool,
    /// The alarm of the queue: at this time, the scheduler checks again whether an attempt or a claim of the queue may
    /// start.
    pub(super) alarm: Option<SinceStart>,
    /// The position of the queue in the order of idle queues. `None` if the queue is not idle.
    pub(super) idle: Option<u64>,
}

impl Queue {
    pub(super) fn new(name: Arc<str>, origin: Option<Key>) -> Self {
        Self {
            name,
            origin,
            url_queues: Vec::new(),
            failing: Failing::default(),
            in_flight: 0,
            breaker: Breaker::default(),
            waiting: 0,
            parked: false,
            parking: 0,
            parkings: 0,
            claim: None,
            to_claim: false,
            alarm: None,
            idle: None,
        }
    }

    /// Whether parked reports of this queue may be claimed if `free` units of memory are free.
    pub(super) fn may_claim(&self, free: usize, now: SinceStart) -> bool {
        let has_room = self.waiting == 0 || (!self.breaker.is_probing() && self.waiting * 2 < free);
        self.parked && self.claim.is_none() && has_room && self.breaker.allows_attempt(now)
    }

    /// Whether a claimed report is allowed to wait in memory in this queue.
    pub(super) fn can_queue(&self, now: SinceStart) -> bool {
        self.breaker.allows_attempt(now) && !(self.breaker.is_probing() && self.waiting > 0)
    }

    /// Whether reports of this queue are parked, are being parked, or are being claimed.
    pub(super) fn is_parked(&self) -> bool {
        self.parked || self.parking > 0 || self.claim.is_some()
    }
}
