//! Decides which report is attempted next, which reports wait in memory, and which reports are parked in the store.
//!
//! The reports of one origin wait in one queue. If the circuit of a URL opens, the URL gets a queue of its own until
//! the URL works again (`urls.rs`).
//!
//! Invariants: the scheduler never waits for anything. Its memory is limited. This is true for the waiting reports and
//! for what the scheduler remembers about origins, idle origins included.

#[cfg(feature = "server")]
mod at_once;
mod circuits;
mod claims;
mod failing;
mod idle;
mod queue;
mod terms;
mod urls;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::hash::RandomState;
use std::sync::Arc;
use std::time::Duration;

use self::queue::Queue;
#[cfg(feature = "server")]
pub(super) use self::terms::Withheld;
pub(super) use self::terms::{Bounds, Claim, Effects, ParkReason, Schedulable, StartedAttempt};
use crate::policy::breaker::{Change, Health, Scope};
use crate::policy::turns::{Key, Limits, SinceStart, Turns};

/// Decides which report the delivery attempts next. `W` is the type of a report in memory.
pub(super) struct Scheduler<W> {
    turns: Turns<W>,
    bounds: Bounds,
    /// For each origin for which the operator set a limit: the largest number of attempts that may be in flight.
    own_limits: HashMap<String, usize>,
    keys: HashMap<Arc<str>, Key>,
    hasher: RandomState,
    /// The largest number of attempts in flight to an origin and all its URL queues together, if the operator set no
    /// limit for the origin.
    share: usize,
    queues: HashMap<Key, Queue>,
    /// The queues whose parked reports are claimed next.
    to_claim: VecDeque<Key>,
    /// The alarms of all queues. The alarm of a queue is the time at which the scheduler checks again whether an
    /// attempt or a claim of this queue may start.
    alarms: BTreeSet<(SinceStart, Key)>,
    /// The idle queues in the order in which they became idle. The queue that has been idle longest comes first.
    idle: BTreeMap<u64, Key>,
    last_idle: u64,
    counts: Counts,
    /// Whether the store has parked reports of origins that the scheduler does not know.
    has_unknown_parked: bool,
    /// The last origin that a search for parked reports has added. The next search continues after this origin.
    found_up_to: Option<String>,
}

/// Sums over all queues. Invariant: when a function changes a queue, the same function updates the sums.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    /// The units of memory that the waiting reports use.
    waiting: usize,
    /// The units of memory that are reserved for reports that are being claimed. One unit is reserved for each report,
    /// because the size of the reports is not known before the claim has ended. The store limits the bytes of a claim.
    reserved: usize,
    claims: usize,
    /// The number of reports that are being parked: the store has not committed them as parked yet.
    parking: usize,
    /// The number of queues for which the scheduler knows that the store has parked reports.
    parked: usize,
    /// The number of circuits that are open or are being tested by a single attempt.
    open: usize,
}

impl<W: Schedulable> Scheduler<W> {
    pub(super) fn new(limits: Limits, bounds: Bounds, own_limits: HashMap<String, usize>) -> Self {
        Self {
            share: limits.share(),
            turns: Turns::new(limits),
            bounds,
            own_limits,
            keys: HashMap::new(),
            hasher: RandomState::new(),
            queues: HashMap::new(),
            to_claim: VecDeque::new(),
            alarms: BTreeSet::new(),
            idle: BTreeMap::new(),
            last_idle: 0,
            counts: Counts::default(),
            has_unknown_parked: false,
            found_up_to: None,
        }
    }

    /// Replaces the limits of attempts in flight. Attempts that are in flight go on.
    pub(super) fn set_limits(&mut self, limits: Limits, own_limits: HashMap<String, usize>, now: SinceStart) {
        self.share = limits.share();
        self.own_limits = own_limits;
        let Self { turns, queues, own_limits, .. } = self;
        turns.set_limits(limits, |key| {
            let queue = queues.get(&key)?;
            let origin = queue.origin.and_then(|origin| queues.get(&origin)).unwrap_or(queue);
            own_limits.get(&*origin.name).copied()
        });
        let keys: Vec<Key> = self.queues.keys().copied().collect();
        for key in keys {
            self.refresh(key, now);
        }
    }

    /// Puts a report into its queue. If the queue may not take the report, returns the report, and the caller has to
    /// park it.
    ///
    /// A queue takes a report only while the queue's reports use fewer units of memory than are still free. So a single
    /// origin gets about half of the memory at most, and some memory stays free for other origins.
    pub(super) fn take(&mut self, key: Key, work: W, now: SinceStart) -> Option<(W, ParkReason)> {
        let free = self.free();
        let queue = self.queues.get_mut(&key);
        let reason = queue.as_ref().and_then(|queue| {
            // While a single attempt tests whether the origin works, one report in memory is enough. If one is in
            // memory or is being claimed, the new report is parked.
            let is_tested = queue.breaker.is_probing() && (queue.waiting > 0 || queue.claim.is_some());
            if is_tested || !queue.breaker.allows_attempt(now) {
                Some(ParkReason::Breaker)
            } else {
                // Earlier reports of the queue are parked. The new report is parked as well, so that it does not
                // overtake them.
                (queue.parked || queue.waiting >= free).then_some(ParkReason::Share)
            }
        });
        let to_park = if let Some(reason) = reason {
            if let Some(queue) = queue {
                queue.parking += 1;
                self.counts.parking += 1;
            }
            Some((work, reason))
        } else {
            self.push(key, work);
            None
        };
        self.update_idle(key);
        to_park
    }

    /// Starts the next attempt, if an attempt may start. Returns the attempt and its report.
    pub(super) fn next(&mut self, now: SinceStart) -> Option<(StartedAttempt, W)> {
        let (key, work) = self.turns.next(now)?;
        self.leave_queue(key, work.units());
        let permit = self.queues.get_mut(&key).and_then(|queue| queue.breaker.begin(now)).unwrap_or_default();
        self.count_in_flight(key, now, |n| n + 1);
        self.refresh(key, now);
        Some((StartedAttempt { key, permit, url: self.url_hash(work.url()), at_once: false }, work))
    }

    /// Records the end of an attempt. `url` is the URL of the attempt if the URL failed, otherwise `None`.
    pub(super) fn ended(
        &mut self,
        attempt: StartedAttempt,
        health: Health,
        url: Option<&str>,
        took: Duration,
        now: SinceStart,
    ) -> Option<Effects<W>> {
        let StartedAttempt { key, permit, .. } = attempt;
        if attempt.at_once {
            self.turns.end_at_once(key);
        } else {
            self.turns.done(key, (health != Health::Unknown).then_some(took), now);
        }
        let mut opened = self.judge_url(attempt, health, now);
        let queue = self.queues.get_mut(&key)?;
        let scope =
            if queue.origin.is_some() { Scope::Url } else { Scope::Origin { failing: queue.failing.count(now) } };
        let change = queue.breaker.ended(permit, health, scope, now);
        let (mut changes, mut to_park) = (Vec::new(), Vec::new());
        if let (Scope::Origin { .. }, Health::Fails, Some(Change::Extended { .. })) = (scope, health, change) {
            // The failing URL gets a circuit of its own. So the next single attempt that tests the origin goes to
            // another URL.
            opened = opened.or_else(|| queue.failing.trip(attempt.url, now));
        }
        if let (Some((breaker, change)), Some(url)) = (opened, url)
            && let Some(waited) = self.split_off(key, attempt.url, url, breaker, now)
        {
            changes.push((url.into(), change));
            to_park = waited;
        }
        if let Some(change) = change {
            changes.extend(self.queues.get(&key).map(|queue| (queue.name.clone(), change)));
            to_park.extend(self.apply_change(key, change));
        }
        self.count_in_flight(key, now, |n| n.saturating_sub(1));
        self.refresh(key, now);
        Some(Effects { changes, to_park })
    }

    /// Updates the queue after the state of its circuit has changed. Returns the reports that the caller has to park.
    fn apply_change(&mut self, key: Key, change: Change) -> Vec<(Key, W)> {
        match change {
            Change::Opened { .. } | Change::Extended { .. } => {
                self.counts.open += usize::from(matches!(change, Change::Opened { .. }));
                let waiting = self.turns.drain(key);
                let Some(queue) = self.queues.get_mut(&key) else { return Vec::new() };
                // The scheduler forgets that this queue has parked reports. So the scheduler can remember another queue
                // with parked reports, which it does not know yet.
                if self.has_unknown_parked && std::mem::take(&mut queue.parked) {
                    self.counts.parked = self.counts.parked.saturating_sub(1);
                }
                self.counts.waiting = self.counts.waiting.saturating_sub(std::mem::take(&mut queue.waiting));
                queue.parking += waiting.len();
                self.counts.parking += waiting.len();
                waiting.into_iter().map(|work| (key, work)).collect()
            }
            Change::Closed => {
                self.counts.open = self.counts.open.saturating_sub(1);
                Vec::new()
            }
        }
    }

    /// Records that the parking of a report is committed, or that it was given up.
    pub(super) fn parked(&mut self, key: Key, committed: bool, now: SinceStart) {
        self.counts.parking = self.counts.parking.saturating_sub(1);
        if let Some(queue) = self.queues.get_mut(&key) {
            queue.parking = queue.parking.saturating_sub(1);
            queue.parkings += u64::from(committed);
        }
        if committed {
            self.remember_parked(key);
        }
        self.refresh(key, now);
    }

    /// Records which origins and URLs have parked reports in the store.
    pub(super) fn found(&mut self, mut origins: Vec<String>, now: SinceStart) {
        self.has_unknown_parked = false;
        if let Some(last) = self.found_up_to.take() {
            origins.sort_unstable();
            let behind = origins.partition_point(|origin| *origin <= last);
            origins.rotate_left(behind);
        }
        for origin in origins {
            if self.counts.parked >= self.bounds.parked {
                self.has_unknown_parked = true;
                return;
            }
            let key = self.key_of_name(&origin);
            self.remember_parked(key);
            self.refresh(key, now);
            self.found_up_to = Some(origin);
        }
    }

    /// Whether the caller has to ask the store which origins have parked reports. The caller passes the store's answer
    /// to [`found`](Self::found).
    pub(super) fn needs_parked_search(&mut self) -> bool {
        let wants = self.has_unknown_parked && self.counts.parked <= self.bounds.parked / 2;
        self.has_unknown_parked &= !wants;
        wants
    }

    /// Returns the time at which the caller has to call [`wake`](Self::wake).
    pub(super) fn alarm(&self) -> Option<SinceStart> {
        self.alarms.first().map(|(at, _)| *at)
    }

    /// Handles all alarms that are due: for each of their queues, checks again whether an attempt or a claim may start.
    pub(super) fn wake(&mut self, now: SinceStart) {
        while let Some(&(at, key)) = self.alarms.first().filter(|(at, _)| *at <= now) {
            self.alarms.remove(&(at, key));
            if let Some(queue) = self.queues.get_mut(&key) {
                queue.alarm = None;
            }
            self.refresh(key, now);
        }
    }

    /// Removes all waiting reports from all queues, and returns them.
    pub(super) fn clear(&mut self) -> Vec<W> {
        self.counts.waiting = 0;
        self.queues.values_mut().for_each(|queue| queue.waiting = 0);
        self.turns.drain_all()
    }

    /// Returns the largest number of units of memory that the waiting reports may use.
    pub(super) fn backlog(&self) -> usize {
        self.bounds.backlog
    }

    pub(super) fn waiting(&self) -> usize {
        self.turns.waiting()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.turns.in_flight()
    }

    /// Returns the number of claims in progress.
    pub(super) fn claims(&self) -> usize {
        self.counts.claims
    }

    /// Returns the number of reports that are being parked: the store has not committed them as parked yet.
    pub(super) fn parking(&self) -> usize {
        self.counts.parking
    }

    /// Returns the number of circuits that are open or are being tested by a single attempt.
    pub(super) fn open(&self) -> usize {
        self.counts.open
    }

    fn free(&self) -> usize {
        let Counts { waiting, reserved, parking, .. } = self.counts;
        self.bounds.backlog.saturating_sub(waiting + reserved + parking)
    }

    fn push(&mut self, key: Key, work: W) {
        let units = work.units();
        if let Some(queue) = self.queues.get_mut(&key) {
            queue.waiting += units;
            self.counts.waiting += units;
        }
        self.turns.push(key, work);
    }

    /// Subtracts the units of a report from the sums, because the report has left its queue.
    fn leave_queue(&mut self, key: Key, units: usize) {
        if let Some(queue) = self.queues.get_mut(&key) {
            queue.waiting = queue.waiting.saturating_sub(units);
            self.counts.waiting = self.counts.waiting.saturating_sub(units);
        }
    }

    /// Returns the key of the queue for reports to this origin and URL. The caller must use the key immediately,
    /// because the scheduler may forget an idle queue later.
    pub(super) fn key(&mut self, origin: &str, url: &str) -> Key {
        match self.keys.get(url) {
            Some(key) => *key,
            None => self.origin(origin),
        }
    }

    fn origin(&mut self, name: &str) -> Key {
        match self.keys.get(name) {
            Some(key) => *key,
            None => self.add(name.into(), None),
        }
    }

    fn add(&mut self, name: Arc<str>, origin: Option<Key>) -> Key {
        let of = origin.and_then(|origin| self.queues.get(&origin)).map_or(&name, |queue| &queue.name);
        let key = self.turns.add(self.own_limits.get(&**of).copied());
        self.keys.insert(name.clone(), key);
        self.queues.insert(key, Queue::new(name, origin));
        key
    }

    fn remember_parked(&mut self, key: Key) {
        let full = self.counts.parked >= self.bounds.parked;
        let Some(queue) = self.queues.get_mut(&key).filter(|queue| !queue.parked) else { return };
        if full {
            self.has_unknown_parked = true;
        } else {
            queue.parked = true;
            self.counts.parked += 1;
        }
    }

    /// Updates the claim and the alarm of the queue, and whether the queue is paused or idle. This function is called
    /// after every change of the queue.
    fn refresh(&mut self, key: Key, now: SinceStart) {
        let free = self.free();
        let Some(queue) = self.queues.get_mut(&key) else { return };
        if queue.alarm.is_none() && !queue.to_claim && queue.may_claim(free, now) {
            queue.to_claim = true;
            self.to_claim.push_back(key);
        }
        let paused = !queue.breaker.allows_attempt(now) || self.is_full(key);
        self.turns.set_paused(key, paused);
        let Some(queue) = self.queues.get(&key) else { return };
        if let Some(until) = queue.breaker.probe_at().filter(|until| queue.alarm.is_none() && *until > now) {
            self.set_alarm(key, until);
        }
        self.update_idle(key);
    }

    fn set_alarm(&mut self, key: Key, moment: SinceStart) {
        let Some(queue) = self.queues.get_mut(&key) else { return };
        if let Some(earlier) = queue.alarm.replace(moment) {
            self.alarms.remove(&(earlier, key));
        }
        self.alarms.insert((moment, key));
    }
}

#[cfg(test)]
mod tests;
