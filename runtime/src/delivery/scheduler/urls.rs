//! Handles a URL that fails while other URLs of its origin may work.
//!
//! A URL whose circuit opens is split off from its origin: it gets a queue of its own, in memory and in the store. Then
//! single attempts test this URL alone. The URL returns to its origin's queue when its circuit has closed and its own
//! queue is empty. URLs are compared without their query, so that a caller who varies the query does not create
//! circuits.

use std::hash::BuildHasher as _;
use std::sync::Arc;

use super::queue::Queue;
use super::{Schedulable, Scheduler, StartedAttempt};
use crate::policy::breaker::{Breaker, Change, Health};
use crate::policy::turns::{Key, SinceStart};

/// The largest number of URLs of one origin that have queues of their own. If a further URL needs a queue, the queue of
/// an idle URL is forgotten. If no URL is idle, the reports to the further URL stay in the queue of the origin. The
/// store may have reports that are parked under more URLs. These reports are claimed as well.
pub(super) const MAX_SPLIT_OFF: usize = 16;

impl<W: Schedulable> Scheduler<W> {
    /// Returns a hash that distinguishes a URL from the other URLs of its origin.
    pub(super) fn url_hash(&self, url: &str) -> u64 {
        self.hasher.hash_one(url)
    }

    /// Returns the key of the queue with this name. The name is an origin or a URL. If the scheduler does not know a
    /// queue with this name, adds a new queue.
    pub(super) fn key_of_name(&mut self, name: &str) -> Key {
        if let Some(key) = self.keys.get(name) {
            return *key;
        }
        let of = origin_of(name);
        let origin = self.origin(of);
        if of == name {
            return origin;
        }
        let key = self.add(name.into(), Some(origin));
        self.join_origin(origin, self.url_hash(name), key);
        key
    }

    /// Returns the URL to which the queue belongs. The reports of the queue are parked under this URL. `None` if the
    /// queue belongs to an origin.
    pub(in crate::delivery) fn url_of(&self, key: Key) -> Option<Arc<str>> {
        self.queues.get(&key).filter(|queue| queue.origin.is_some()).map(|queue| queue.name.clone())
    }

    /// Records whether an attempt from the queue of an origin shows that the URL of the attempt works. If the circuit
    /// of this URL has opened, returns the URL's breaker.
    pub(super) fn judge_url(
        &mut self,
        attempt: StartedAttempt,
        health: Health,
        now: SinceStart,
    ) -> Option<(Breaker, Change)> {
        let queue = self.queues.get_mut(&attempt.key).filter(|queue| queue.origin.is_none())?;
        // After the attempt had started, the URL got a queue and an open circuit of its own. This late attempt does
        // not change that circuit.
        if queue.url_queues.iter().any(|(url, _)| *url == attempt.url) {
            return None;
        }
        queue.failing.ended(attempt.url, health, now)
    }

    /// Gives a URL a queue of its own. Returns the reports to this URL that waited in the queue of the origin. The
    /// caller has to park these reports. `None` if the origin cannot have another URL queue.
    pub(super) fn split_off(
        &mut self,
        origin: Key,
        hash: u64,
        url: &str,
        breaker: Breaker,
        now: SinceStart,
    ) -> Option<Vec<(Key, W)>> {
        if self.keys.contains_key(url) || !self.has_room_to_split(origin) {
            return None;
        }
        let key = self.add(url.into(), Some(origin));
        self.join_origin(origin, hash, key);
        self.counts.open += 1;
        let mut to_park = Vec::new();
        for work in self.turns.drain(origin) {
            if work.url() == url {
                self.leave_queue(origin, work.units());
                to_park.push((key, work));
            } else {
                self.turns.push(origin, work);
            }
        }
        self.counts.parking += to_park.len();
        if let Some(queue) = self.queues.get_mut(&key) {
            queue.breaker = breaker;
            queue.parking += to_park.len();
        }
        self.refresh(key, now);
        Some(to_park)
    }

    fn has_room_to_split(&mut self, origin: Key) -> bool {
        let Some(queue) = self.queues.get(&origin) else { return false };
        if queue.url_queues.len() < MAX_SPLIT_OFF {
            return true;
        }
        let idle = queue.url_queues.iter().filter_map(|(_, url)| Some((self.queues.get(url)?.idle?, *url))).min();
        idle.is_some_and(|(_, url)| self.forget(url).is_some())
    }

    fn join_origin(&mut self, origin: Key, hash: u64, url: Key) {
        if let Some(queue) = self.queues.get_mut(&origin) {
            queue.url_queues.push((hash, url));
        }
        self.mark_idle(origin);
    }

    /// Removes the queue of a URL from its origin. The origin keeps the breaker of the URL, unless the circuit is still
    /// open.
    pub(super) fn rejoin(&mut self, origin: Key, url: Key, breaker: Breaker) {
        let Some(queue) = self.queues.get_mut(&origin) else { return };
        let Some(place) = queue.url_queues.iter().position(|(_, key)| *key == url) else { return };
        let (hash, _) = queue.url_queues.swap_remove(place);
        if !breaker.is_probing() {
            queue.failing.keep_breaker(hash, breaker);
        }
    }

    /// Changes the number of attempts in flight. The attempts of an origin and of its URL queues are counted together,
    /// because one limit applies to all of them.
    pub(super) fn count_in_flight(&mut self, key: Key, now: SinceStart, count: fn(usize) -> usize) {
        let Some(queue) = self.queues.get(&key) else { return };
        let origin = queue.origin.unwrap_or(key);
        let was_full = self.is_full(origin);
        let Some(queue) = self.queues.get_mut(&origin) else { return };
        queue.in_flight = count(queue.in_flight);
        if was_full != self.is_full(origin) {
            let urls = self.queues.get(&origin).map(|queue| queue.url_queues.clone()).unwrap_or_default();
            for (_, url) in urls {
                self.refresh(url, now);
            }
            self.refresh(origin, now);
        }
    }

    /// Whether an origin with URL queues has reached its limit of attempts in flight. `key` is the queue of the origin
    /// or of one of its URLs.
    pub(super) fn is_full(&self, key: Key) -> bool {
        let origin = |queue: &Queue| queue.origin.and_then(|origin| self.queues.get(&origin));
        let Some(queue) = self.queues.get(&key) else { return false };
        let queue = origin(queue).unwrap_or(queue);
        !queue.url_queues.is_empty()
            && queue.in_flight >= self.own_limits.get(&*queue.name).copied().unwrap_or(self.share)
    }
}

/// Returns the scheme, host and port of a URL. If the text is not a URL with a path, returns the whole text.
fn origin_of(url: &str) -> &str {
    let path = url.find("://").and_then(|scheme| url[scheme + 3..].find('/').map(|host| scheme + 3 + host));
    path.map_or(url, |path| &url[..path])
}
