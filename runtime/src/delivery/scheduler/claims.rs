//! Parked reports that are taken up again, and what becomes of those that a claim has brought.

use std::time::Duration;

use super::{Claim, InHand, Scheduler};
use crate::policy::turns::{Key, SinceStart};

/// Claims of parked reports under way at once.
const MOST_CLAIMS: usize = 4;
/// Reports in one of them.
const MOST_CLAIMED: usize = 256;
/// The same while a single one is to find out whether the origin works: those that are parked under it and belong to URLs with
/// circuits of their own are no use for that.
const MOST_LOOKED_AT: usize = 32;
/// How long after a claim that failed, or brought nothing, the next one is made.
const PAUSE: Duration = Duration::from_secs(1);

impl<W: InHand> Scheduler<W> {
    /// A claim of parked reports that is to be made now.
    pub(in crate::delivery) fn claim(&mut self, now: SinceStart) -> Option<Claim> {
        while self.counts.claims < MOST_CLAIMS && self.free() > 0 {
            let key = self.wanting.pop_front()?;
            let free = self.free();
            let Some(at) = self.origins.get_mut(&key) else { continue };
            at.wanting = false;
            if !at.may_claim(free, now) {
                continue;
            }
            let most = match (at.breaker.is_probing(), at.urls.is_empty()) {
                (true, true) => 1,
                (true, false) => MOST_LOOKED_AT,
                (false, _) => MOST_CLAIMED,
            };
            let limit = (free.saturating_sub(at.waiting) / 2).clamp(1, most);
            at.claim = Some(at.parkings);
            self.counts.claims += 1;
            self.counts.reserved += limit;
            return Some(Claim { key, line: at.name.clone(), limit });
        }
        None
    }

    /// What a claim has brought, and whether there is more; `None` if it failed. What is to be parked again comes back.
    pub(in crate::delivery) fn claimed(
        &mut self,
        key: Key,
        limit: usize,
        brought: Option<(Vec<W>, bool)>,
        now: SinceStart,
    ) -> Vec<(Key, W)> {
        self.counts.claims = self.counts.claims.saturating_sub(1);
        self.counts.reserved = self.counts.reserved.saturating_sub(limit);
        let (works, more) = brought.unwrap_or((Vec::new(), true));
        let Some(at) = self.origins.get_mut(&key) else { return works.into_iter().map(|work| (key, work)).collect() };
        let is_news = at.claim.take() != Some(at.parkings);
        if !more && !is_news && std::mem::take(&mut at.parked) {
            self.counts.parked = self.counts.parked.saturating_sub(1);
        }
        let mut aside = Vec::new();
        if works.is_empty() && more {
            self.set_alarm(key, now + PAUSE);
        }
        for work in works {
            // Parked before its URL had a circuit of its own.
            let url = self.keys.get(work.url()).copied().filter(|own| *own != key);
            if let Some(own) = url {
                aside.extend(self.take(own, work, now).map(|(work, _)| (own, work)));
                self.look_at(own, now);
            } else if self.origins.get(&key).is_some_and(|at| at.takes(now)) {
                self.push(key, work);
            } else {
                if let Some(at) = self.origins.get_mut(&key) {
                    at.parking += 1;
                    self.counts.parking += 1;
                }
                aside.push((key, work));
            }
        }
        self.look_at(key, now);
        aside
    }
}
