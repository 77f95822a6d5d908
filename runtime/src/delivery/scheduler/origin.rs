//! What the scheduler knows of one origin, or of one URL that has a circuit of its own.

use std::sync::Arc;

use super::urls::Failing;
use crate::policy::breaker::Breaker;
use crate::policy::turns::{Key, SinceStart};

pub(super) struct Origin {
    pub(super) name: Arc<str>,
    /// The origin, of a URL of it.
    pub(super) origin: Option<Key>,
    /// Its URLs that have a circuit of their own, by what tells them apart.
    pub(super) urls: Vec<(u64, Key)>,
    /// Its other URLs of which tries failed.
    pub(super) failing: Failing,
    /// Tries under way, those of its URLs included.
    pub(super) in_flight: usize,
    pub(super) breaker: Breaker,
    /// Units that wait in memory.
    pub(super) waiting: usize,
    /// Reports may be parked for it.
    pub(super) parked: bool,
    /// Reports whose parking is not committed.
    pub(super) parking: usize,
    /// How often a parking was committed.
    pub(super) parkings: u64,
    /// The same when the claim under way began: one that ends with nothing left may have missed those since.
    pub(super) claim: Option<u64>,
    /// It is among those that parked reports are to be claimed for.
    pub(super) wanting: bool,
    pub(super) alarm: Option<SinceStart>,
    /// Its place among those with nothing to do.
    pub(super) idle: Option<u64>,
}

impl Origin {
    pub(super) fn new(name: Arc<str>, origin: Option<Key>) -> Self {
        Self {
            name,
            origin,
            urls: Vec::new(),
            failing: Failing::default(),
            in_flight: 0,
            breaker: Breaker::default(),
            waiting: 0,
            parked: false,
            parking: 0,
            parkings: 0,
            claim: None,
            wanting: false,
            alarm: None,
            idle: None,
        }
    }

    /// Whether parked reports are to be claimed, while there is so much room.
    pub(super) fn may_claim(&self, free: usize, now: SinceStart) -> bool {
        let has_room = self.waiting == 0 || (!self.breaker.is_probing() && self.waiting * 2 < free);
        self.parked && self.claim.is_none() && has_room && self.breaker.lets(now)
    }

    /// Whether a report that was claimed may wait here.
    pub(super) fn takes(&self, now: SinceStart) -> bool {
        self.breaker.lets(now) && !(self.breaker.is_probing() && self.waiting > 0)
    }

    /// Whether reports of it are in the store, or on their way there or back.
    pub(super) fn is_parked(&self) -> bool {
        self.parked || self.parking > 0 || self.claim.is_some()
    }
}
