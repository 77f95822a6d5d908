//! The URLs of an endpoint that fail while others of it may work.
//!
//! A URL whose circuit opens is split off: it has a line of its own, in memory and in the store, so that what waits for it and the
//! single tries that it gets are its own. It joins the others again when its circuit has closed and nothing is left in its line.
//! A URL without a query counts, so that whoever adds queries makes no circuits.

use std::collections::VecDeque;
use std::hash::BuildHasher as _;
use std::sync::Arc;

use super::endpoint::Endpoint;
use super::{Begun, Desk, InHand};
use crate::policy::breaker::{Breaker, Change, Scope, Sign, WINDOW};
use crate::policy::turns::{Key, Moment};

/// URLs of one endpoint that are split off, at most. A further one takes the place of one that has nothing to do, else it stays
/// where it is. What is parked under more of them in the store is taken up all the same.
pub(super) const MOST_SPLIT_OFF: usize = 16;
/// Other URLs of one endpoint whose failures are remembered, the last ones.
const MOST_FAILING: usize = 16;

/// URLs that failed, the last one last.
#[derive(Debug, Default)]
pub(super) struct Failing(VecDeque<Url>);

#[derive(Debug)]
struct Url {
    told: u64,
    breaker: Breaker,
    /// When, unless it worked since.
    failed: Option<Moment>,
}

impl Failing {
    /// How many failed of late.
    pub(super) fn count(&self, now: Moment) -> usize {
        self.0.iter().filter(|url| url.failed.is_some_and(|failed| now.saturating_sub(failed) < WINDOW)).count()
    }

    /// A try has ended. The breaker, if it opened.
    fn ended(&mut self, told: u64, sign: Sign, now: Moment) -> Option<(Breaker, Change)> {
        let known = self.take(told);
        let mut url = match (known, sign) {
            (Some(url), _) => url,
            (None, Sign::Fails) => Url { told, breaker: Breaker::default(), failed: None },
            (None, _) => return None,
        };
        let change = match sign {
            Sign::Fails | Sign::Works => {
                url.failed = (sign == Sign::Fails).then_some(now);
                url.breaker.begin(now).and_then(|pass| url.breaker.ended(pass, sign, Scope::Url, now))
            }
            // It says nothing about the URL.
            Sign::Unreachable | Sign::Nothing => None,
        };
        match change {
            Some(change) if url.breaker.is_probing() => Some((url.breaker, change)),
            _ => {
                self.remember(url);
                None
            }
        }
    }

    /// Opens the breaker of this URL.
    pub(super) fn trip(&mut self, told: u64, now: Moment) -> Option<(Breaker, Change)> {
        let mut breaker = self.take(told).map(|url| url.breaker).unwrap_or_default();
        let change = breaker.trip(now)?;
        Some((breaker, change))
    }

    fn take(&mut self, told: u64) -> Option<Url> {
        let at = self.0.iter().position(|url| url.told == told)?;
        self.0.remove(at)
    }

    fn remember(&mut self, url: Url) {
        if self.0.len() >= MOST_FAILING {
            self.0.pop_front();
        }
        self.0.push_back(url);
    }
}

impl<W: InHand> Desk<W> {
    /// Tells a URL from others of its endpoint.
    pub(super) fn told_apart(&self, url: &str) -> u64 {
        self.hasher.hash_one(url)
    }

    /// The line of this name, which is an endpoint or a URL.
    pub(super) fn line(&mut self, name: &str) -> Key {
        if let Some(key) = self.keys.get(name) {
            return *key;
        }
        let endpoint = endpoint_of(name);
        let origin = self.endpoint(endpoint);
        if endpoint == name {
            return origin;
        }
        let key = self.add(name.into(), Some(origin));
        self.join_endpoint(origin, self.told_apart(name), key);
        key
    }

    /// What a line is called if it is that of a URL: reports are parked under it.
    pub(in crate::delivery) fn url_of(&self, key: Key) -> Option<Arc<str>> {
        self.endpoints.get(&key).filter(|at| at.origin.is_some()).map(|at| at.name.clone())
    }

    /// What the end of a try that stood in the line of the endpoint says about its URL alone: its breaker, if that opened.
    pub(super) fn judge_url(&mut self, begun: Begun, sign: Sign, now: Moment) -> Option<(Breaker, Change)> {
        let at = self.endpoints.get_mut(&begun.key).filter(|at| at.origin.is_none())?;
        // It was split off since.
        if at.urls.iter().any(|(url, _)| *url == begun.url) {
            return None;
        }
        at.failing.ended(begun.url, sign, now)
    }

    /// Gives a URL a line of its own; what stood in the endpoint's line for it is to be parked. `None`: there is no room for
    /// one more.
    pub(super) fn split_off(
        &mut self,
        origin: Key,
        told: u64,
        url: &str,
        breaker: Breaker,
        now: Moment,
    ) -> Option<Vec<(Key, W)>> {
        if self.keys.contains_key(url) || !self.has_room_to_split(origin) {
            return None;
        }
        let key = self.add(url.into(), Some(origin));
        self.join_endpoint(origin, told, key);
        self.counts.open += 1;
        let mut aside = Vec::new();
        for work in self.turns.drain(origin) {
            if work.url() == url {
                self.left(origin, work.units());
                aside.push((key, work));
            } else {
                self.turns.push(origin, work);
            }
        }
        self.counts.parking += aside.len();
        if let Some(at) = self.endpoints.get_mut(&key) {
            at.breaker = breaker;
            at.parking += aside.len();
        }
        self.look_at(key, now);
        Some(aside)
    }

    fn has_room_to_split(&mut self, origin: Key) -> bool {
        let Some(at) = self.endpoints.get(&origin) else { return false };
        if at.urls.len() < MOST_SPLIT_OFF {
            return true;
        }
        let idle = at.urls.iter().filter_map(|(_, url)| Some((self.endpoints.get(url)?.idle?, *url))).min();
        idle.is_some_and(|(_, url)| self.forget(url).is_some())
    }

    fn join_endpoint(&mut self, origin: Key, told: u64, url: Key) {
        if let Some(at) = self.endpoints.get_mut(&origin) {
            at.urls.push((told, url));
        }
        self.mark_idleness(origin);
    }

    /// The URL has a line of its own no longer; its past is remembered as that of the others is.
    pub(super) fn rejoin(&mut self, origin: Key, url: Key, breaker: Breaker) {
        let Some(at) = self.endpoints.get_mut(&origin) else { return };
        let Some(place) = at.urls.iter().position(|(_, key)| *key == url) else { return };
        let (told, _) = at.urls.swap_remove(place);
        if !breaker.is_probing() {
            at.failing.remember(Url { told, breaker, failed: None });
        }
    }

    /// Tries of an endpoint and its URLs count together, under the limit of the endpoint.
    pub(super) fn count_in_flight(&mut self, key: Key, now: Moment, count: fn(usize) -> usize) {
        let Some(at) = self.endpoints.get(&key) else { return };
        let origin = at.origin.unwrap_or(key);
        let was_full = self.is_full(origin);
        let Some(at) = self.endpoints.get_mut(&origin) else { return };
        at.in_flight = count(at.in_flight);
        if was_full != self.is_full(origin) {
            let urls = self.endpoints.get(&origin).map(|at| at.urls.clone()).unwrap_or_default();
            for (_, url) in urls {
                self.look_at(url, now);
            }
            self.look_at(origin, now);
        }
    }

    /// Whether an endpoint with URLs of their own lines has as many tries under way as it may.
    pub(super) fn is_full(&self, key: Key) -> bool {
        let origin = |at: &Endpoint| at.origin.and_then(|origin| self.endpoints.get(&origin));
        let Some(at) = self.endpoints.get(&key) else { return false };
        let at = origin(at).unwrap_or(at);
        !at.urls.is_empty() && at.in_flight >= self.own.get(&*at.name).copied().unwrap_or(self.share)
    }
}

/// Scheme, host and port of a URL; all of what is none.
fn endpoint_of(url: &str) -> &str {
    let path = url.find("://").and_then(|scheme| url[scheme + 3..].find('/').map(|host| scheme + 3 + host));
    path.map_or(url, |path| &url[..path])
}
