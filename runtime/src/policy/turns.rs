//! Whose turn it is: which origin begins the next try, when more want to than there are slots.
//!
//! A try cannot be taken back, and may last as long as its timeout. So an origin that hangs must never have got hold of
//! what the others need, and that is decided when tries begin:
//! - An origin has at most its share in flight. One that answers promptly has more while nobody else could begin one.
//! - Origins take turns: the one whose last turn is the longest ago begins first.
//! - Of an origin that has not answered yet only a few tries are in flight, until it has.
//! - Slow origins together have half of the slots at most, and three quarters together with those that have not
//!   answered yet. The rest is for prompt ones alone.
//! - An eighth of the slots is kept for origins with few tries in flight, so that prompt origins which begin to hang
//!   with all that they may have do not close the door behind them.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use slab::Slab;

/// Time since some moment, the same for all calls.
pub(crate) type SinceStart = Duration;

/// One origin; valid until it is removed.
pub(crate) type Key = usize;

/// An origin is prompt if its tries take less than this on average. At that pace a slot is free again before anybody
/// notices that it was not.
const PROMPT: Duration = Duration::from_secs(1);
/// What a single try counts for at most, so that an origin which has become prompt is seen as such after ten more.
const LONGEST: Duration = Duration::from_secs(4);
/// The weight of all earlier tries against the last one.
const INERTIA: u32 = 7;

/// How many slots there are, and who may have how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// All slots.
    total: usize,
    /// Of one origin.
    share: usize,
    /// An origin with up to so many is small: what is kept free is kept for it. As many has one that has not answered
    /// yet.
    small: usize,
    /// Of all that are not small.
    large: usize,
    /// Of all slow origins.
    slow: usize,
    /// Of all slow origins and those that have not answered yet.
    unproven: usize,
}

impl Limits {
    /// How many slots one origin may have, while others have something to begin.
    pub(crate) fn share(&self) -> usize {
        self.share
    }

    /// At least one slot, and a share of at least one and at most all.
    pub(crate) fn new(total: usize, share: usize) -> Self {
        let total = total.max(1);
        let kept = if total == 1 { 0 } else { total.div_ceil(8) };
        Self {
            total,
            share: share.clamp(1, total),
            small: (total / 64).max(1),
            large: total - kept,
            slow: (total / 2).max(1),
            unproven: (total - total / 4).max(1),
        }
    }
}

/// All origins with what waits for them. Waiting things are of type `T`.
#[derive(Debug)]
pub(crate) struct Turns<T> {
    limits: Limits,
    origins: Slab<Origin<T>>,
    /// Origins that have something to begin, by their tickets: the smallest has waited longest.
    ready: [BTreeMap<u64, Key>; LimitGroup::COUNT],
    last_ticket: u64,
    waiting: usize,
    in_use: SlotsInUse,
}

/// Slots in use. Invariant: each field is the sum over all lines; see [`Turns::change`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct SlotsInUse {
    all: usize,
    by_large: usize,
    by_slow: usize,
    by_unproven: usize,
}

/// One origin's line.
#[derive(Debug)]
struct Origin<T> {
    queue: VecDeque<T>,
    in_flight: usize,
    /// A limit of its own, which takes the place of the share and is never exceeded.
    own_limit: Option<usize>,
    /// Nothing is begun.
    paused: bool,
    /// How long a try takes on average; `None` before the first has ended.
    average_time: Option<Duration>,
    /// When it last gave a sign of life, or was given its first chance to.
    last_heard: SinceStart,
    /// Its turn, while it is in a lane or waits for its own limit.
    ticket: u64,
    group: Option<LimitGroup>,
}

/// Origins that the same limits apply to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum LimitGroup {
    /// Prompt and small.
    Small,
    /// Prompt and within its share.
    Large,
    /// Has not answered yet.
    Unproven,
    Slow,
    /// Slow, and not small.
    SlowLarge,
    /// Prompt and beyond its share: only when nobody else can begin anything.
    BeyondShare,
}

impl LimitGroup {
    const COUNT: usize = 6;
}

impl<T> Turns<T> {
    pub(crate) fn new(limits: Limits) -> Self {
        let ready = std::array::from_fn(|_| BTreeMap::new());
        Self { limits, origins: Slab::new(), ready, last_ticket: 0, waiting: 0, in_use: SlotsInUse::default() }
    }

    /// A further origin, with a limit of its own if it has one.
    pub(crate) fn add(&mut self, own_limit: Option<usize>) -> Key {
        self.origins.insert(Origin {
            queue: VecDeque::new(),
            in_flight: 0,
            own_limit: own_limit.map(|own_limit| own_limit.max(1)),
            paused: false,
            average_time: None,
            last_heard: SinceStart::ZERO,
            ticket: 0,
            group: None,
        })
    }

    /// Forgets an origin; not one that [has work](Self::has_work).
    pub(crate) fn remove(&mut self, key: Key) {
        if !self.has_work(key) {
            self.origins.try_remove(key);
        }
    }

    /// Puts something at the end of the origin's line.
    pub(crate) fn push(&mut self, key: Key, item: T) {
        let ticket = self.next_ticket();
        self.change(key, |origin| {
            if origin.queue.is_empty() {
                origin.ticket = ticket;
            }
            origin.queue.push_back(item);
        });
    }

    /// What is to be begun next, if anything may. It has a slot until [`done`](Self::done).
    pub(crate) fn next(&mut self, now: SinceStart) -> Option<(Key, T)> {
        loop {
            let group = self.next_group()?;
            let (_, &key) = self.ready[group as usize].first_key_value()?;
            if self.has_fallen_silent(key, now) {
                continue;
            }
            let ticket = self.next_ticket();
            let begun = self.change(key, |origin| {
                if origin.in_flight == 0 {
                    origin.last_heard = now;
                }
                origin.in_flight += 1;
                origin.ticket = ticket;
                origin.queue.pop_front()
            });
            return begun.map(|item| (key, item));
        }
    }

    /// A try has ended after so long and its slot is free. Without a time it says nothing about the origin.
    pub(crate) fn done(&mut self, key: Key, took: Option<Duration>, now: SinceStart) {
        self.change(key, |origin| {
            origin.in_flight = origin.in_flight.saturating_sub(1);
            let Some(took) = took.map(|took| took.min(LONGEST)) else { return };
            origin.last_heard = now;
            origin.average_time =
                Some(origin.average_time.map_or(took, |average_time| (average_time * INERTIA + took) / (INERTIA + 1)));
        });
    }

    /// Shut, nothing is begun for this origin.
    pub(crate) fn set_paused(&mut self, key: Key, paused: bool) {
        self.change(key, |origin| origin.paused = paused);
    }

    /// Takes all that waits for this origin, the first first.
    pub(crate) fn drain(&mut self, key: Key) -> VecDeque<T> {
        self.change(key, |origin| std::mem::take(&mut origin.queue))
    }

    /// Takes all that waits.
    pub(crate) fn drain_all(&mut self) -> Vec<T> {
        let keys: Vec<Key> = self.origins.iter().map(|(key, _)| key).collect();
        keys.into_iter().flat_map(|key| self.drain(key)).collect()
    }

    /// How much waits.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// How many slots are in use.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_use.all
    }

    /// Whether something waits or is in flight.
    pub(crate) fn has_work(&self, key: Key) -> bool {
        self.origins.get(key).is_some_and(|origin| origin.in_flight > 0 || !origin.queue.is_empty())
    }

    /// The lane of the origin whose turn it is.
    ///
    /// Large origins wait for the first of them: were others let past, what it needs might never come together.
    fn next_group(&self) -> Option<LimitGroup> {
        let Limits { total, slow, unproven, .. } = self.limits;
        let SlotsInUse { all, by_slow, by_unproven, .. } = self.in_use;
        if all >= total {
            return None;
        }
        let first = |group: LimitGroup| {
            let open = match group {
                LimitGroup::Small | LimitGroup::Large | LimitGroup::BeyondShare => true,
                LimitGroup::Unproven => by_unproven < unproven,
                LimitGroup::Slow | LimitGroup::SlowLarge => by_slow < slow && by_unproven < unproven,
            };
            let (&ticket, &key) = self.ready[group as usize].first_key_value().filter(|_| open)?;
            Some((ticket, group, key))
        };
        let earliest = |ready: &[LimitGroup]| ready.iter().filter_map(|group| first(*group)).min();
        let large = earliest(&[LimitGroup::Large, LimitGroup::SlowLarge]);
        let fits = |(.., key): &(u64, LimitGroup, Key)| self.has_room_for_large(*key);
        let within = earliest(&[LimitGroup::Small, LimitGroup::Unproven, LimitGroup::Slow])
            .into_iter()
            .chain(large.filter(fits))
            .min();
        let beyond = || if large.is_none() { first(LimitGroup::BeyondShare).filter(fits) } else { None };
        within.or_else(beyond).map(|(_, group, _)| group)
    }

    fn has_room_for_large(&self, key: Key) -> bool {
        let in_flight = self.origins.get(key).map_or(0, |origin| origin.in_flight);
        // The step from small to large counts all that it has.
        let grown = if in_flight <= self.limits.small { in_flight + 1 } else { 1 };
        self.in_use.by_large + grown <= self.limits.large
    }

    /// An origin with tries in flight that has not been heard of for long is slow, before any of them has ended.
    fn has_fallen_silent(&mut self, key: Key, now: SinceStart) -> bool {
        let Some(origin) = self.origins.get(key) else { return false };
        let silent = origin.in_flight > 0 && now.saturating_sub(origin.last_heard) >= PROMPT;
        let fallen = silent && origin.average_time.is_some_and(|average_time| average_time < PROMPT);
        if fallen {
            self.change(key, |origin| origin.average_time = Some(LONGEST));
        }
        fallen
    }

    fn next_ticket(&mut self) -> u64 {
        self.last_ticket += 1;
        self.last_ticket
    }

    /// The one way to change a line: keeps the sums and the lanes true.
    fn change<R: Default>(&mut self, key: Key, change: impl FnOnce(&mut Origin<T>) -> R) -> R {
        let Some(origin) = self.origins.get_mut(key) else { return R::default() };
        let before = origin.group.map(|group| (group, origin.ticket));
        self.waiting -= origin.queue.len();
        self.in_use = self.in_use.without(origin.slots_in_use(&self.limits));
        let changed = change(origin);
        self.in_use = self.in_use.with(origin.slots_in_use(&self.limits));
        self.waiting += origin.queue.len();
        origin.group = origin.current_group(&self.limits);
        let after = origin.group.map(|group| (group, origin.ticket));
        if before != after {
            if let Some((group, ticket)) = before {
                self.ready[group as usize].remove(&ticket);
            }
            if let Some((group, ticket)) = after {
                self.ready[group as usize].insert(ticket, key);
            }
        }
        changed
    }
}

impl<T> Origin<T> {
    fn current_group(&self, limits: &Limits) -> Option<LimitGroup> {
        let n = self.in_flight;
        let most = self.own_limit.unwrap_or(limits.share);
        if self.queue.is_empty() || self.paused {
            return None;
        }
        match (self.average_time, n < limits.small, n < most) {
            (None, true, true) => Some(LimitGroup::Unproven),
            (Some(average_time), true, true) if average_time < PROMPT => Some(LimitGroup::Small),
            (Some(average_time), false, true) if average_time < PROMPT => Some(LimitGroup::Large),
            (Some(_), true, true) => Some(LimitGroup::Slow),
            (Some(_), false, true) => Some(LimitGroup::SlowLarge),
            (Some(average_time), _, false) if average_time < PROMPT && self.own_limit.is_none() => {
                Some(LimitGroup::BeyondShare)
            }
            _ => None,
        }
    }

    fn slots_in_use(&self, limits: &Limits) -> SlotsInUse {
        let all = self.in_flight;
        let slots_if = |is: bool| if is { all } else { 0 };
        SlotsInUse {
            all,
            by_large: slots_if(all > limits.small),
            by_slow: slots_if(self.average_time.is_some_and(|average_time| average_time >= PROMPT)),
            by_unproven: slots_if(self.average_time.is_none_or(|average_time| average_time >= PROMPT)),
        }
    }
}

impl SlotsInUse {
    fn with(self, other: Self) -> Self {
        self.each(other, usize::saturating_add)
    }

    fn without(self, other: Self) -> Self {
        self.each(other, usize::saturating_sub)
    }

    fn each(self, other: Self, join: fn(usize, usize) -> usize) -> Self {
        Self {
            all: join(self.all, other.all),
            by_large: join(self.by_large, other.by_large),
            by_slow: join(self.by_slow, other.by_slow),
            by_unproven: join(self.by_unproven, other.by_unproven),
        }
    }
}

#[cfg(test)]
mod tests;
