//! Remembers the URLs of an origin that failed last and have no queue of their own.

use std::collections::VecDeque;

use crate::policy::breaker::{Breaker, Change, Health, Scope, WINDOW};
use crate::policy::turns::SinceStart;

/// The largest number of URLs of one origin whose failures are remembered.
const MAX_FAILING: usize = 16;

/// The URLs at which attempts failed, all of one origin. The URL with the latest attempt is the last one in the list.
#[derive(Debug, Default)]
pub(super) struct Failing(VecDeque<Url>);

#[derive(Debug)]
struct Url {
    hash: u64,
    breaker: Breaker,
    /// The time at which the URL last failed. `None` if an attempt has succeeded since then.
    failed: Option<SinceStart>,
}

impl Failing {
    /// Returns how many URLs failed within the last minute and had no successful attempt since then.
    pub(super) fn count(&self, now: SinceStart) -> usize {
        self.0.iter().filter(|url| url.failed.is_some_and(|failed| now.saturating_sub(failed) < WINDOW)).count()
    }

    /// Records the end of an attempt at a URL. If the circuit of the URL has opened, returns the URL's breaker.
    pub(super) fn ended(&mut self, hash: u64, health: Health, now: SinceStart) -> Option<(Breaker, Change)> {
        let known = self.take(hash);
        let mut url = match (known, health) {
            (Some(url), _) => url,
            (None, Health::Fails) => Url { hash, breaker: Breaker::default(), failed: None },
            (None, _) => return None,
        };
        let change = match health {
            Health::Fails | Health::Works => {
                url.failed = (health == Health::Fails).then_some(now);
                url.breaker.begin(now).and_then(|permit| url.breaker.ended(permit, health, Scope::Url, now))
            }
            // An attempt without a connection, or an attempt that was not sent, does not show whether this URL works.
            Health::Unreachable | Health::Unknown => None,
        };
        match change {
            Some(change) if url.breaker.is_probing() => Some((url.breaker, change)),
            _ => {
                self.remember(url);
                None
            }
        }
    }

    /// Opens the circuit of a URL immediately, and returns the URL's breaker. `None` if the circuit is already open.
    pub(super) fn trip(&mut self, hash: u64, now: SinceStart) -> Option<(Breaker, Change)> {
        let mut breaker = self.take(hash).map(|url| url.breaker).unwrap_or_default();
        let change = breaker.trip(now)?;
        Some((breaker, change))
    }

    /// Remembers the breaker of a URL after the URL's own queue was removed.
    pub(super) fn keep_breaker(&mut self, hash: u64, breaker: Breaker) {
        self.remember(Url { hash, breaker, failed: None });
    }

    fn take(&mut self, hash: u64) -> Option<Url> {
        let at = self.0.iter().position(|url| url.hash == hash)?;
        self.0.remove(at)
    }

    fn remember(&mut self, url: Url) {
        if self.0.len() >= MAX_FAILING {
            self.0.pop_front();
        }
        self.0.push_back(url);
    }
}
