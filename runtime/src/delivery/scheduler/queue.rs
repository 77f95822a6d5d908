//! What the scheduler knows of one queue: that of an origin, or that of a URL with a circuit of its own.

use std::sync::Arc;

use super::failing::Failing;
use crate::policy::breaker::Breaker;
use crate::policy::turns::{Key, SinceStart};

/// The queue of an origin, or of a URL with a circuit of its own.
pub(super) struct Queue {
    /// The origin or the URL.
    pub(super) name: Arc<str>,
    /// The origin's queue, if this queue is that of a URL.
    pub(super) origin: Option<Key>,
    /// The queues of the origin's URLs that have circuits of their own, each with the hash of its URL.
    pub(super) url_queues: Vec<(u64, Key)>,
    /// The origin's other URLs that failed.
    pub(super) failing: Failing,
    /// Attempts in flight, those of the origin's URL queues included.
    pub(super) in_flight: usize,
    pub(super) breaker: Breaker,
    /// Units of the reports that wait in memory.
    pub(super) waiting: usize,
    /// The store may have reports parked under this name.
    pub(super) parked: bool,
    /// Reports whose parking is not committed yet.
    pub(super) parking: usize,
    /// How many parkings were committed.
    pub(super) parkings: u64,
    /// The value of `parkings` when the running claim started. A claim that finds nothing more may have missed later
    /// parkings.
    pub(super) claim: Option<u64>,
    /// The queue is in the list of queues whose parked reports are claimed next.
    pub(super) to_claim: bool,
    /// When the scheduler refreshes this queue.
    pub(super) alarm: Option<SinceStart>,
    /// The position among the idle queues. `None` if the queue is not idle.
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

    /// Whether parked reports may be claimed, if this many units are free.
    pub(super) fn may_claim(&self, free: usize, now: SinceStart) -> bool {
        let has_room = self.waiting == 0 || (!self.breaker.is_probing() && self.waiting * 2 < free);
        self.parked && self.claim.is_none() && has_room && self.breaker.allows_attempt(now)
    }

    /// Whether a claimed report may wait in this queue.
    pub(super) fn can_queue(&self, now: SinceStart) -> bool {
        self.breaker.allows_attempt(now) && !(self.breaker.is_probing() && self.waiting > 0)
    }

    /// Whether reports of this queue are parked, are being parked, or are being claimed.
    pub(super) fn is_parked(&self) -> bool {
        self.parked || self.parking > 0 || self.claim.is_some()
    }
}
