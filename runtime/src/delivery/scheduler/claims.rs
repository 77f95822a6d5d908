//! Claims parked reports from the store again, and puts the claimed reports into their queues.

use std::time::Duration;

use super::{Claim, Schedulable, Scheduler};
use crate::policy::turns::{Key, SinceStart};

/// The largest number of claims of parked reports that run at the same time.
const MAX_CLAIMS: usize = 4;
/// The largest number of parked reports in one claim.
const MAX_PER_CLAIM: usize = 256;
/// The largest number of reports in one claim while a single attempt tests an origin and some of the origin's URLs have
/// circuits of their own. The claim asks for more than one report, because a report to such a URL goes into the URL's
/// own queue and cannot test the origin.
const MAX_PER_TEST_CLAIM: usize = 32;
/// How long the scheduler waits before the next claim if a claim failed or returned no report.
const PAUSE: Duration = Duration::from_secs(1);

impl<W: Schedulable> Scheduler<W> {
    /// Returns the next claim of parked reports, if a claim may start now.
    pub(in crate::delivery) fn claim(&mut self, now: SinceStart) -> Option<Claim> {
        while self.counts.claims < MAX_CLAIMS && self.free() > 0 {
            let key = self.to_claim.pop_front()?;
            let free = self.free();
            let Some(queue) = self.queues.get_mut(&key) else { continue };
            queue.to_claim = false;
            if !queue.may_claim(free, now) {
                continue;
            }
            let most = match (queue.breaker.is_probing(), queue.url_queues.is_empty()) {
                (true, true) => 1,
                (true, false) => MAX_PER_TEST_CLAIM,
                (false, _) => MAX_PER_CLAIM,
            };
            let limit = (free.saturating_sub(queue.waiting) / 2).clamp(1, most);
            queue.claim = Some(queue.parkings);
            self.counts.claims += 1;
            self.counts.reserved += limit;
            return Some(Claim { key, queue_name: queue.name.clone(), limit });
        }
        None
    }

    /// Records the result of a claim: the claimed reports, and whether the store has more parked reports. `None` means
    /// that the claim failed. Returns the reports that the caller has to park again.
    pub(in crate::delivery) fn claimed(
        &mut self,
        key: Key,
        limit: usize,
        claimed_reports: Option<(Vec<W>, bool)>,
        now: SinceStart,
    ) -> Vec<(Key, W)> {
        self.counts.claims = self.counts.claims.saturating_sub(1);
        self.counts.reserved = self.counts.reserved.saturating_sub(limit);
        let (works, more) = claimed_reports.unwrap_or((Vec::new(), true));
        let Some(queue) = self.queues.get_mut(&key) else { return works.into_iter().map(|work| (key, work)).collect() };
        let is_news = queue.claim.take() != Some(queue.parkings);
        if !more && !is_news && std::mem::take(&mut queue.parked) {
            self.counts.parked = self.counts.parked.saturating_sub(1);
        }
        let mut to_park = Vec::new();
        if works.is_empty() && more {
            self.set_alarm(key, now + PAUSE);
        }
        for work in works {
            // If the URL of the report now has a queue of its own, the report goes into this queue. The report may have
            // been parked under its origin before the URL got the queue.
            let url = self.keys.get(work.url()).copied().filter(|own_limits| *own_limits != key);
            if let Some(own_limits) = url {
                to_park.extend(self.take(own_limits, work, now).map(|(work, _)| (own_limits, work)));
                self.refresh(own_limits, now);
            } else if self.queues.get(&key).is_some_and(|queue| queue.can_queue(now)) {
                self.push(key, work);
            } else {
                if let Some(queue) = self.queues.get_mut(&key) {
                    queue.parking += 1;
                    self.counts.parking += 1;
                }
                to_park.push((key, work));
            }
        }
        self.refresh(key, now);
        to_park
    }
}
