//! The URLs of an origin that fail while others of it may work.
//!
//! A URL whose circuit opens is split off: it has a line of its own, in memory and in the store, so that what waits for it and the
//! single tries that it gets are its own. It joins the others again when its circuit has closed and nothing is left in its line.
//! A URL without a query counts, so that whoever adds queries makes no circuits.

use std::collections::VecDeque;
use std::hash::BuildHasher as _;
use std::sync::Arc;

use super::origin::Origin;
use super::{Begun, InHand, Scheduler};
use crate::policy::breaker::{Breaker, Change, Scope, Sign, WINDOW};
use crate::policy::turns::{Key, SinceStart};

/// URLs of one origin that are split off, at most. A further one takes the place of one that has nothing to do, else it stays
/// where it is. What is parked under more of them in the store is taken up all the same.
pub(super) const MOST_SPLIT_OFF: usize = 16;
/// Other URLs of one origin whose failures are remembered, the last ones.
const MOST_FAILING: usize = 16;

/// URLs that failed, the last one last.
#[derive(Debug, Default)]
pub(super) struct Failing(VecDeque<Url>);

#[derive(Debug)]
struct Url {
    told: u64,
    breaker: Breaker,
    /// When, unless it worked since.
    failed: Option<SinceStart>,
}

impl Failing {
    /// How many failed of late.
    pub(super) fn count(&self, now: SinceStart) -> usize {
        self.0.iter().filter(|url| url.failed.is_some_and(|failed| now.saturating_sub(failed) < WINDOW)).count()
    }

    /// A try has ended. The breaker, if it opened.
    fn ended(&mut self, told: u64, sign: Sign, now: SinceStart) -> Option<(Breaker, Change)> {
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
    pub(super) fn trip(&mut self, told: u64, now: SinceStart) -> Option<(Breaker, Change)> {
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

impl<W: InHand> Scheduler<W> {
    /// Tells a URL from others of its origin.
    pub(super) fn told_apart(&self, url: &str) -> u64 {
        self.hasher.hash_one(url)
    }

    /// The line of this name, which is an origin or a URL.
    pub(super) fn line(&mut self, name: &str) -> Key {
        if let Some(key) = self.keys.get(name) {
            return *key;
        }
        let of = origin_of(name);
        let origin = self.origin(of);
        if of == name {
            return origin;
        }
        let key = self.add(name.into(), Some(origin));
        self.join_origin(origin, self.told_apart(name), key);
        key
    }

    /// What a line is called if it is that of a URL: reports are parked under it.
    pub(in crate::delivery) fn url_of(&self, key: Key) -> Option<Arc<str>> {
        self.origins.get(&key).filter(|at| at.origin.is_some()).map(|at| at.name.clone())
    }

    /// What the end of a try that stood in the line of the origin says about its URL alone: its breaker, if that opened.
    pub(super) fn judge_url(&mut self, begun: Begun, sign: Sign, now: SinceStart) -> Option<(Breaker, Change)> {
        let at = self.origins.get_mut(&begun.key).filter(|at| at.origin.is_none())?;
        // It was split off since.
        if at.urls.iter().any(|(url, _)| *url == begun.url) {
            return None;
        }
        at.failing.ended(begun.url, sign, now)
    }

    /// Gives a URL a line of its own; what stood in the origin's line for it is to be parked. `None`: there is no room for
    /// one more.
    pub(super) fn split_off(
        &mut self,
        origin: Key,
        told: u64,
        url: &str,
        breaker: Breaker,
        now: SinceStart,
    ) -> Option<Vec<(Key, W)>> {
        if self.keys.contains_key(url) || !self.has_room_to_split(origin) {
            return None;
        }
        let key = self.add(url.into(), Some(origin));
        self.join_origin(origin, told, key);
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
        if let Some(at) = self.origins.get_mut(&key) {
            at.breaker = breaker;
            at.parking += aside.len();
        }
        self.look_at(key, now);
        Some(aside)
    }

    fn has_room_to_split(&mut self, origin: Key) -> bool {
        let Some(at) = self.origins.get(&origin) else { return false };
        if at.urls.len() < MOST_SPLIT_OFF {
            return true;
        }
        let idle = at.urls.iter().filter_map(|(_, url)| Some((self.origins.get(url)?.idle?, *url))).min();
        idle.is_some_and(|(_, url)| self.forget(url).is_some())
    }

    fn join_origin(&mut self, origin: Key, told: u64, url: Key) {
        if let Some(at) = self.origins.get_mut(&origin) {
            at.urls.push((told, url));
        }
        self.mark_idleness(origin);
    }

    /// The URL has a line of its own no longer; its past is remembered as that of the others is.
    pub(super) fn rejoin(&mut self, origin: Key, url: Key, breaker: Breaker) {
        let Some(at) = self.origins.get_mut(&origin) else { return };
        let Some(place) = at.urls.iter().position(|(_, key)| *key == url) else { return };
        let (told, _) = at.urls.swap_remove(place);
        if !breaker.is_probing() {
            at.failing.remember(Url { told, breaker, failed: None });
        }
    }

    /// Tries of an origin and its URLs count together, under the limit of the origin.
    pub(super) fn count_in_flight(&mut self, key: Key, now: SinceStart, count: fn(usize) -> usize) {
        let Some(at) = self.origins.get(&key) else { return };
        let origin = at.origin.unwrap_or(key);
        let was_full = self.is_full(origin);
        let Some(at) = self.origins.get_mut(&origin) else { return };
        at.in_flight = count(at.in_flight);
        if was_full != self.is_full(origin) {
            let urls = self.origins.get(&origin).map(|at| at.urls.clone()).unwrap_or_default();
            for (_, url) in urls {
                self.look_at(url, now);
            }
            self.look_at(origin, now);
        }
    }

    /// Whether an origin with URLs of their own lines has as many tries under way as it may.
    pub(super) fn is_full(&self, key: Key) -> bool {
        let origin = |at: &Origin| at.origin.and_then(|origin| self.origins.get(&origin));
        let Some(at) = self.origins.get(&key) else { return false };
        let at = origin(at).unwrap_or(at);
        !at.urls.is_empty() && at.in_flight >= self.own.get(&*at.name).copied().unwrap_or(self.share)
    }
}

/// Scheme, host and port of a URL; all of what is none.
fn origin_of(url: &str) -> &str {
    let path = url.find("://").and_then(|scheme| url[scheme + 3..].find('/').map(|host| scheme + 3 + host));
    path.map_or(url, |path| &url[..path])
}
