//! What the delivery has in hand, and what it knows of origins: whose report is tried next, which ones wait in memory, and
//! which are parked in the store instead.
//!
//! Reports of one origin stand in one line, but those to a URL whose circuit has opened: these have a line of their own, named
//! after that URL, until it works again. See `urls`.
//!
//! Invariants: nothing in here waits for anything. Memory is bounded: what waits, and what is known of origins, those with
//! nothing to do included.

mod claims;
mod idle;
mod origin;
mod terms;
mod urls;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::hash::RandomState;
use std::sync::Arc;
use std::time::Duration;

use self::origin::Origin;
pub(super) use self::terms::{Begun, Bounds, Claim, Consequence, InHand, ParkReason};
use crate::policy::breaker::{Change, Scope, Sign};
use crate::policy::turns::{Key, Limits, SinceStart, Turns};

/// See the module. `W` is a report in hand.
pub(super) struct Scheduler<W> {
    turns: Turns<W>,
    bounds: Bounds,
    /// Limits of their own, by origin.
    own: HashMap<String, usize>,
    keys: HashMap<Arc<str>, Key>,
    hasher: RandomState,
    /// How many tries an origin may have under way that has URLs with circuits of their own, if it has no limit of its own.
    share: usize,
    origins: HashMap<Key, Origin>,
    /// Those that parked reports are to be claimed for.
    wanting: VecDeque<Key>,
    /// When to look again.
    alarms: BTreeSet<(SinceStart, Key)>,
    /// Those with nothing to do, the longest idle first.
    idle: BTreeMap<u64, Key>,
    last_idle: u64,
    counts: Counts,
    /// Reports are parked for origins that are not known here.
    overlooked: bool,
    /// The last origin that was found to have parked reports: the next look goes on behind it.
    found_up_to: Option<String>,
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
    /// Origins that are known to have parked reports.
    parked: usize,
    /// Breakers that are not closed.
    open: usize,
}

impl<W: InHand> Scheduler<W> {
    pub(super) fn new(limits: Limits, bounds: Bounds, own: HashMap<String, usize>) -> Self {
        Self {
            share: limits.share(),
            turns: Turns::new(limits),
            bounds,
            own,
            keys: HashMap::new(),
            hasher: RandomState::new(),
            origins: HashMap::new(),
            wanting: VecDeque::new(),
            alarms: BTreeSet::new(),
            idle: BTreeMap::new(),
            last_idle: 0,
            counts: Counts::default(),
            overlooked: false,
            found_up_to: None,
        }
    }

    /// Takes a report to wait for its turn. It comes back if it is to be parked.
    ///
    /// An origin may have as many waiting as there is still room for: alone half of all, and however many have a backlog,
    /// there is room for one more origin.
    pub(super) fn take(&mut self, key: Key, work: W, now: SinceStart) -> Option<(W, ParkReason)> {
        let free = self.free();
        let at = self.origins.get_mut(&key);
        let why = at.as_ref().and_then(|at| {
            // One suffices to find out, and may be under way already.
            let spared = at.breaker.is_probing() && (at.waiting > 0 || at.claim.is_some());
            if spared || !at.breaker.lets(now) {
                Some(ParkReason::Breaker)
            } else {
                // Behind those that are parked, so that they are not overtaken for ever.
                (at.parked || at.waiting >= free).then_some(ParkReason::Share)
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

    /// The next report to be attempted, if a try may begin.
    pub(super) fn next(&mut self, now: SinceStart) -> Option<(Begun, W)> {
        let (key, work) = self.turns.next(now)?;
        self.left(key, work.units());
        let pass = self.origins.get_mut(&key).and_then(|at| at.breaker.begin(now)).unwrap_or_default();
        self.count_in_flight(key, now, |n| n + 1);
        self.look_at(key, now);
        Some((Begun { key, pass, url: self.told_apart(work.url()) }, work))
    }

    /// A try has ended, and says this about where it went: its URL, which is told if that is what fails.
    pub(super) fn ended(
        &mut self,
        begun: Begun,
        sign: Sign,
        url: Option<&str>,
        took: Duration,
        now: SinceStart,
    ) -> Option<Consequence<W>> {
        let Begun { key, pass, .. } = begun;
        self.turns.done(key, (sign != Sign::Nothing).then_some(took), now);
        let mut opened = self.judge_url(begun, sign, now);
        let at = self.origins.get_mut(&key)?;
        let scope = if at.origin.is_some() { Scope::Url } else { Scope::Origin { failing: at.failing.count(now) } };
        let change = at.breaker.ended(pass, sign, scope, now);
        let (mut changes, mut aside) = (Vec::new(), Vec::new());
        if let (Scope::Origin { .. }, Sign::Fails, Some(Change::Extended { .. })) = (scope, sign, change) {
            // The next single try is another URL's.
            opened = opened.or_else(|| at.failing.trip(begun.url, now));
        }
        if let (Some((breaker, change)), Some(url)) = (opened, url)
            && let Some(waited) = self.split_off(key, begun.url, url, breaker, now)
        {
            changes.push((url.into(), change));
            aside = waited;
        }
        if let Some(change) = change {
            changes.extend(self.origins.get(&key).map(|at| (at.name.clone(), change)));
            aside.extend(self.follow(key, change));
        }
        self.count_in_flight(key, now, |n| n.saturating_sub(1));
        self.look_at(key, now);
        Some(Consequence { changes, aside })
    }

    /// Does what the change of a breaker asks for. What is to be parked comes back.
    fn follow(&mut self, key: Key, change: Change) -> Vec<(Key, W)> {
        match change {
            Change::Opened { .. } | Change::Extended { .. } => {
                self.counts.open += usize::from(matches!(change, Change::Opened { .. }));
                let waiting = self.turns.drain(key);
                let Some(at) = self.origins.get_mut(&key) else { return Vec::new() };
                // It had its turn: others wait for theirs that are not even known here.
                if self.overlooked && std::mem::take(&mut at.parked) {
                    self.counts.parked = self.counts.parked.saturating_sub(1);
                }
                self.counts.waiting = self.counts.waiting.saturating_sub(std::mem::take(&mut at.waiting));
                at.parking += waiting.len();
                self.counts.parking += waiting.len();
                waiting.into_iter().map(|work| (key, work)).collect()
            }
            Change::Closed => {
                self.counts.open = self.counts.open.saturating_sub(1);
                Vec::new()
            }
        }
    }

    /// The parking of a report is committed, or was given up.
    pub(super) fn parked(&mut self, key: Key, committed: bool, now: SinceStart) {
        self.counts.parking = self.counts.parking.saturating_sub(1);
        if let Some(at) = self.origins.get_mut(&key) {
            at.parking = at.parking.saturating_sub(1);
            at.parkings += u64::from(committed);
        }
        if committed {
            self.remember_parked(key);
        }
        self.look_at(key, now);
    }

    /// Reports were found to be parked for these.
    pub(super) fn found(&mut self, mut origins: Vec<String>, now: SinceStart) {
        self.overlooked = false;
        if let Some(last) = self.found_up_to.take() {
            origins.sort_unstable();
            let behind = origins.partition_point(|origin| *origin <= last);
            origins.rotate_left(behind);
        }
        for origin in origins {
            if self.counts.parked >= self.bounds.parked {
                self.overlooked = true;
                return;
            }
            let key = self.line(&origin);
            self.remember_parked(key);
            self.look_at(key, now);
            self.found_up_to = Some(origin);
        }
    }

    /// Whether the store is to be asked which origins have parked reports; then [`found`](Self::found) is told.
    pub(super) fn wants_to_know(&mut self) -> bool {
        let wants = self.overlooked && self.counts.parked <= self.bounds.parked / 2;
        self.overlooked &= !wants;
        wants
    }

    /// When [`wake`](Self::wake) is to be called.
    pub(super) fn alarm(&self) -> Option<SinceStart> {
        self.alarms.first().map(|(at, _)| *at)
    }

    /// Looks at the origins whose time has come.
    pub(super) fn wake(&mut self, now: SinceStart) {
        while let Some(&(at, key)) = self.alarms.first().filter(|(at, _)| *at <= now) {
            self.alarms.remove(&(at, key));
            if let Some(origin) = self.origins.get_mut(&key) {
                origin.alarm = None;
            }
            self.look_at(key, now);
        }
    }

    /// Takes out all that waits.
    pub(super) fn clear(&mut self) -> Vec<W> {
        self.counts.waiting = 0;
        self.origins.values_mut().for_each(|at| at.waiting = 0);
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
        if let Some(at) = self.origins.get_mut(&key) {
            at.waiting += units;
            self.counts.waiting += units;
        }
        self.turns.push(key, work);
    }

    /// So much waits no longer.
    fn left(&mut self, key: Key, units: usize) {
        if let Some(at) = self.origins.get_mut(&key) {
            at.waiting = at.waiting.saturating_sub(units);
            self.counts.waiting = self.counts.waiting.saturating_sub(units);
        }
    }

    /// The key of the line that a report for this origin and URL stands in, for use at once: one with nothing to do may be
    /// forgotten.
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
        let of = origin.and_then(|origin| self.origins.get(&origin)).map_or(&name, |at| &at.name);
        let key = self.turns.add(self.own.get(&**of).copied());
        self.keys.insert(name.clone(), key);
        self.origins.insert(key, Origin::new(name, origin));
        key
    }

    fn remember_parked(&mut self, key: Key) {
        let full = self.counts.parked >= self.bounds.parked;
        let Some(at) = self.origins.get_mut(&key).filter(|at| !at.parked) else { return };
        if full {
            self.overlooked = true;
        } else {
            at.parked = true;
            self.counts.parked += 1;
        }
    }

    /// Brings everything in line with what has become of the origin.
    fn look_at(&mut self, key: Key, now: SinceStart) {
        let free = self.free();
        let Some(at) = self.origins.get_mut(&key) else { return };
        if at.alarm.is_none() && !at.wanting && at.may_claim(free, now) {
            at.wanting = true;
            self.wanting.push_back(key);
        }
        let shut = !at.breaker.lets(now) || self.is_full(key);
        self.turns.set_shut(key, shut);
        let Some(at) = self.origins.get(&key) else { return };
        if let Some(until) = at.breaker.opens_at().filter(|until| at.alarm.is_none() && *until > now) {
            self.set_alarm(key, until);
        }
        self.note_idleness(key);
    }

    fn set_alarm(&mut self, key: Key, moment: SinceStart) {
        let Some(at) = self.origins.get_mut(&key) else { return };
        if let Some(earlier) = at.alarm.replace(moment) {
            self.alarms.remove(&(earlier, key));
        }
        self.alarms.insert((moment, key));
    }
}

#[cfg(test)]
mod tests;
