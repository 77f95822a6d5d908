//! What the delivery has in hand, and what it knows of endpoints: whose report is tried next, which ones wait in memory, and
//! which are parked in the store instead.
//!
//! Invariants: nothing in here waits for anything. Memory is bounded: what waits, and what is known of endpoints, those with
//! nothing to do included.

mod endpoint;
mod terms;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use self::endpoint::Endpoint;
pub(super) use self::terms::{Bounds, Claim, Consequence, InHand, Why};
use crate::policy::breaker::{Change, Pass, Sign};
use crate::policy::turns::{Key, Limits, Moment, Turns};

/// Claims of parked reports under way at once.
const MOST_CLAIMS: usize = 4;
/// Reports in one of them.
const MOST_CLAIMED: usize = 256;
/// How long after a claim that failed, or brought nothing, the next one is made.
const PAUSE: Duration = Duration::from_secs(1);

/// See the module. `W` is a report in hand.
pub(super) struct Desk<W> {
    turns: Turns<W>,
    bounds: Bounds,
    /// Limits of their own, by endpoint.
    own: HashMap<String, usize>,
    keys: HashMap<Arc<str>, Key>,
    endpoints: HashMap<Key, Endpoint>,
    /// Those that parked reports are to be claimed for.
    wanting: VecDeque<Key>,
    /// When to look again.
    alarms: BTreeSet<(Moment, Key)>,
    /// Those with nothing to do, the longest idle first.
    idle: BTreeMap<u64, Key>,
    last_idle: u64,
    counts: Counts,
    /// Reports are parked for endpoints that are not known here.
    overlooked: bool,
}

/// Invariant: kept as things happen.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    /// Units that wait.
    waiting: usize,
    /// Room kept for what is being claimed, as if each report were of one unit: a claim is bounded by itself.
    reserved: usize,
    claims: usize,
    /// Reports whose parking is not committed.
    parking: usize,
    /// Endpoints that are known to have parked reports.
    parked: usize,
    /// Breakers that are not closed.
    open: usize,
}

impl<W: InHand> Desk<W> {
    pub(super) fn new(limits: Limits, bounds: Bounds, own: HashMap<String, usize>) -> Self {
        Self {
            turns: Turns::new(limits),
            bounds,
            own,
            keys: HashMap::new(),
            endpoints: HashMap::new(),
            wanting: VecDeque::new(),
            alarms: BTreeSet::new(),
            idle: BTreeMap::new(),
            last_idle: 0,
            counts: Counts::default(),
            overlooked: false,
        }
    }

    /// Takes a report to wait for its turn. It comes back if it is to be parked.
    ///
    /// An endpoint may have as many waiting as there is still room for: alone half of all, and however many have a backlog,
    /// there is room for one more endpoint.
    pub(super) fn take(&mut self, key: Key, work: W, now: Moment) -> Option<(W, Why)> {
        let free = self.free();
        let at = self.endpoints.get_mut(&key);
        let why = at.as_ref().and_then(|at| {
            // One suffices to find out, and may be under way already.
            let spared = at.breaker.is_probing() && (at.waiting > 0 || at.claim.is_some());
            if spared || !at.breaker.lets(now) {
                Some(Why::Breaker)
            } else {
                // Behind those that are parked, so that they are not overtaken for ever.
                (at.parked || at.waiting >= free).then_some(Why::Share)
            }
        });
        let aside = if let Some(why) = why {
            if let Some(at) = at {
                at.parking += 1;
                self.counts.parking += 1;
            }
            Some((work, why))
        } else {
            self.push(key, work);
            None
        };
        self.note_idleness(key);
        aside
    }

    /// The next report to be tried, if a try may begin.
    pub(super) fn next(&mut self, now: Moment) -> Option<(Key, Pass, W)> {
        let (key, work) = self.turns.next(now)?;
        self.left(key, work.units());
        let pass = self.endpoints.get_mut(&key).and_then(|at| at.breaker.begin(now)).unwrap_or_default();
        self.look_at(key, now);
        Some((key, pass, work))
    }

    /// A try has ended, and says this about its endpoint.
    pub(super) fn ended(
        &mut self,
        key: Key,
        pass: Pass,
        sign: Sign,
        took: Duration,
        now: Moment,
    ) -> Option<Consequence<W>> {
        self.turns.done(key, (sign != Sign::Nothing).then_some(took), now);
        let at = self.endpoints.get_mut(&key)?;
        let change = at.breaker.ended(pass, sign, now);
        let endpoint = at.name.clone();
        let mut aside = Vec::new();
        match change {
            Some(Change::Opened { .. } | Change::Extended { .. }) => {
                aside = self.turns.drain(key).into();
                self.counts.waiting = self.counts.waiting.saturating_sub(std::mem::take(&mut at.waiting));
                at.parking += aside.len();
                self.counts.parking += aside.len();
                self.counts.open += usize::from(matches!(change, Some(Change::Opened { .. })));
            }
            Some(Change::Closed) => self.counts.open = self.counts.open.saturating_sub(1),
            None => {}
        }
        self.look_at(key, now);
        Some(Consequence { endpoint, change, aside })
    }

    /// The parking of a report is committed, or was given up.
    pub(super) fn parked(&mut self, key: Key, committed: bool, now: Moment) {
        self.counts.parking = self.counts.parking.saturating_sub(1);
        if let Some(at) = self.endpoints.get_mut(&key) {
            at.parking = at.parking.saturating_sub(1);
            at.parkings += u64::from(committed);
        }
        if committed {
            self.remember_parked(key);
        }
        self.look_at(key, now);
    }

    /// Reports were found to be parked for these.
    pub(super) fn found(&mut self, endpoints: Vec<String>, now: Moment) {
        self.overlooked = false;
        for endpoint in endpoints {
            if self.counts.parked >= self.bounds.parked {
                self.overlooked = true;
                return;
            }
            let key = self.key(&endpoint);
            self.remember_parked(key);
            self.look_at(key, now);
        }
    }

    /// Whether the store is to be asked which endpoints have parked reports; then [`found`](Self::found) is told.
    pub(super) fn wants_to_know(&mut self) -> bool {
        let wants = self.overlooked && self.counts.parked <= self.bounds.parked / 2;
        self.overlooked &= !wants;
        wants
    }

    /// A claim of parked reports that is to be made now.
    pub(super) fn claim(&mut self, now: Moment) -> Option<Claim> {
        while self.counts.claims < MOST_CLAIMS && self.free() > 0 {
            let key = self.wanting.pop_front()?;
            let free = self.free();
            let Some(at) = self.endpoints.get_mut(&key) else { continue };
            at.wanting = false;
            if !at.may_claim(free, now) {
                continue;
            }
            let most = if at.breaker.is_probing() { 1 } else { MOST_CLAIMED };
            let limit = (free.saturating_sub(at.waiting) / 2).clamp(1, most);
            at.claim = Some(at.parkings);
            self.counts.claims += 1;
            self.counts.reserved += limit;
            return Some(Claim { key, endpoint: at.name.clone(), limit });
        }
        None
    }

    /// What a claim has brought, and whether there is more; `None` if it failed. What is to be parked again comes back.
    pub(super) fn claimed(&mut self, key: Key, limit: usize, brought: Option<(Vec<W>, bool)>, now: Moment) -> Vec<W> {
        self.counts.claims = self.counts.claims.saturating_sub(1);
        self.counts.reserved = self.counts.reserved.saturating_sub(limit);
        let (works, more) = brought.unwrap_or((Vec::new(), true));
        let Some(at) = self.endpoints.get_mut(&key) else { return works };
        let is_news = at.claim.take() != Some(at.parkings);
        if !more && !is_news && std::mem::take(&mut at.parked) {
            self.counts.parked = self.counts.parked.saturating_sub(1);
        }
        let mut aside = Vec::new();
        if works.is_empty() && more {
            self.set_alarm(key, now + PAUSE);
        } else if at.breaker.lets(now) {
            for work in works {
                self.push(key, work);
            }
        } else {
            at.parking += works.len();
            self.counts.parking += works.len();
            aside = works;
        }
        self.look_at(key, now);
        aside
    }

    /// When [`wake`](Self::wake) is to be called.
    pub(super) fn alarm(&self) -> Option<Moment> {
        self.alarms.first().map(|(at, _)| *at)
    }

    /// Looks at the endpoints whose time has come.
    pub(super) fn wake(&mut self, now: Moment) {
        while let Some(&(at, key)) = self.alarms.first().filter(|(at, _)| *at <= now) {
            self.alarms.remove(&(at, key));
            if let Some(endpoint) = self.endpoints.get_mut(&key) {
                endpoint.alarm = None;
            }
            self.look_at(key, now);
        }
    }

    /// Takes out all that waits.
    pub(super) fn clear(&mut self) -> Vec<W> {
        self.counts.waiting = 0;
        self.endpoints.values_mut().for_each(|at| at.waiting = 0);
        self.turns.drain_all()
    }

    /// Units that may wait.
    pub(super) fn backlog(&self) -> usize {
        self.bounds.backlog
    }

    pub(super) fn waiting(&self) -> usize {
        self.turns.waiting()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.turns.in_flight()
    }

    /// Claims under way.
    pub(super) fn claims(&self) -> usize {
        self.counts.claims
    }

    /// Reports whose parking is not committed.
    pub(super) fn parking(&self) -> usize {
        self.counts.parking
    }

    /// Breakers that are not closed.
    pub(super) fn open(&self) -> usize {
        self.counts.open
    }

    fn free(&self) -> usize {
        let Counts { waiting, reserved, parking, .. } = self.counts;
        self.bounds.backlog.saturating_sub(waiting + reserved + parking)
    }

    fn push(&mut self, key: Key, work: W) {
        let units = work.units();
        if let Some(at) = self.endpoints.get_mut(&key) {
            at.waiting += units;
            self.counts.waiting += units;
        }
        self.turns.push(key, work);
    }

    /// So much waits no longer.
    fn left(&mut self, key: Key, units: usize) {
        if let Some(at) = self.endpoints.get_mut(&key) {
            at.waiting = at.waiting.saturating_sub(units);
            self.counts.waiting = self.counts.waiting.saturating_sub(units);
        }
    }

    /// The key of an endpoint, for use at once: one with nothing to do may be forgotten.
    pub(super) fn key(&mut self, name: &str) -> Key {
        if let Some(key) = self.keys.get(name) {
            return *key;
        }
        let key = self.turns.add(self.own.get(name).copied());
        let name: Arc<str> = name.into();
        self.keys.insert(name.clone(), key);
        self.endpoints.insert(key, Endpoint::new(name));
        key
    }

    fn remember_parked(&mut self, key: Key) {
        let full = self.counts.parked >= self.bounds.parked;
        let Some(at) = self.endpoints.get_mut(&key).filter(|at| !at.parked) else { return };
        if full {
            self.overlooked = true;
        } else {
            at.parked = true;
            self.counts.parked += 1;
        }
    }

    /// Brings everything in line with what has become of the endpoint.
    fn look_at(&mut self, key: Key, now: Moment) {
        let free = self.free();
        let Some(at) = self.endpoints.get_mut(&key) else { return };
        self.turns.set_shut(key, !at.breaker.lets(now));
        if at.alarm.is_none() && !at.wanting && at.may_claim(free, now) {
            at.wanting = true;
            self.wanting.push_back(key);
        }
        if let Some(until) = at.breaker.opens_at().filter(|until| at.alarm.is_none() && *until > now) {
            self.set_alarm(key, until);
        }
        self.note_idleness(key);
    }

    fn set_alarm(&mut self, key: Key, moment: Moment) {
        let Some(at) = self.endpoints.get_mut(&key) else { return };
        if let Some(earlier) = at.alarm.replace(moment) {
            self.alarms.remove(&(earlier, key));
        }
        self.alarms.insert((moment, key));
    }

    fn note_idleness(&mut self, key: Key) {
        let has_work = self.turns.has_work(key);
        let Some(at) = self.endpoints.get_mut(&key) else { return };
        let is_idle = !has_work && !at.is_parked();
        match (is_idle, at.idle) {
            (true, None) => {
                self.last_idle += 1;
                at.idle = Some(self.last_idle);
                self.idle.insert(self.last_idle, key);
            }
            (false, Some(stamp)) => {
                at.idle = None;
                self.idle.remove(&stamp);
            }
            (true, Some(_)) | (false, None) => {}
        }
        while self.idle.len() > self.bounds.idle {
            let Some((_, key)) = self.idle.pop_first() else { return };
            self.forget(key);
        }
    }

    fn forget(&mut self, key: Key) {
        let Some(at) = self.endpoints.remove(&key) else { return };
        self.keys.remove(&at.name);
        self.turns.remove(key);
        if let Some(alarm) = at.alarm {
            self.alarms.remove(&(alarm, key));
        }
        self.counts.open = self.counts.open.saturating_sub(usize::from(at.breaker.is_probing()));
    }
}

#[cfg(test)]
mod tests;
