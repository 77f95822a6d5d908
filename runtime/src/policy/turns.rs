//! Decides which origin may start the next attempt, if more attempts wait than there are slots.
//!
//! An attempt that has started cannot be stopped, and may last as long as its timeout. So an origin that hangs must not
//! use the slots that other origins need. These rules apply when an attempt starts:
//! - An origin has at most its share of attempts in flight. A prompt origin may have more while no other origin can
//!   start an attempt.
//! - Origins take turns: the origin that has waited longest since its last turn starts first.
//! - An origin that has not answered yet may have only a few attempts in flight until it answers.
//! - Slow origins together use at most half of the slots. Slow origins and origins that have not answered yet together
//!   use at most three quarters. The rest is only for prompt origins.
//! - An eighth of the slots is kept for origins with few attempts in flight. So if prompt origins use all the slots
//!   that they may use and then begin to hang, other origins still have slots.

mod at_once;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use slab::Slab;

/// A point in time, as the duration since a fixed moment. All values that are passed to one [`Turns`] must be measured
/// from the same moment.
pub(crate) type SinceStart = Duration;

/// Identifies one origin. The key is valid until the origin is removed.
pub(crate) type Key = usize;

/// An origin is prompt if its attempts take less than this time on average. The slots of a prompt origin are free again
/// so soon that other origins do not have to wait long.
const PROMPT: Duration = Duration::from_secs(1);
/// An attempt that takes longer than this counts in the average as if it had taken only this time. So when a slow
/// origin becomes fast, the origin counts as prompt after at most ten more attempts.
const LONGEST: Duration = Duration::from_secs(4);
/// The weight that all earlier attempts together have in the average time of an origin. The last attempt has the weight
/// 1.
const INERTIA: u32 = 7;

/// The number of slots, and how many slots each kind of origin may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// The number of slots. A slot is the right to have one attempt in flight.
    total: usize,
    /// The number of slots that one origin may use while other origins have attempts to start.
    share: usize,
    /// An origin is small while it uses at most this many slots. Some slots are kept free for small origins. An origin
    /// that has not answered yet may use at most this many slots.
    small: usize,
    /// The number of slots that all origins that are not small may use together.
    large: usize,
    /// The number of slots that all slow origins may use together.
    slow: usize,
    /// The number of slots that all slow origins and all origins that have not answered yet may use together.
    unproven: usize,
}

impl Limits {
    /// Returns the number of slots that one origin may use while other origins have attempts to start.
    pub(crate) fn share(&self) -> usize {
        self.share
    }

    /// Makes limits for `total` slots, or for one slot if `total` is 0. The share is limited to at least one slot and
    /// at most all slots.
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

/// All origins with their waiting reports, which are of type `T`. Decides which origin starts the next attempt.
#[derive(Debug)]
pub(crate) struct Turns<T> {
    limits: Limits,
    origins: Slab<Origin<T>>,
    /// For each group, the origins that could start an attempt, ordered by ticket. The origin with the smallest ticket
    /// has waited for the longest time.
    ready: [BTreeMap<u64, Key>; LimitGroup::COUNT],
    last_ticket: u64,
    waiting: usize,
    in_use: SlotsInUse,
}

/// The numbers of slots in use. Invariant: each field is a sum over all origins. [`Turns::change`] updates the sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct SlotsInUse {
    all: usize,
    by_large: usize,
    by_slow: usize,
    by_unproven: usize,
}

/// One origin with its waiting reports.
#[derive(Debug)]
struct Origin<T> {
    queue: VecDeque<T>,
    in_flight: usize,
    /// How many of the attempts in flight never wait for a turn. They do not show whether the origin has become silent.
    at_once: usize,
    /// The limit that the operator set for this origin. The limit replaces the share, and the origin never exceeds it.
    own_limit: Option<usize>,
    /// Whether the origin is paused. A paused origin starts no attempt.
    paused: bool,
    /// The average time of an attempt. `None` until the first attempt has ended.
    average_time: Option<Duration>,
    /// The time at which the last attempt of this origin ended. But if the origin later started an attempt while it had
    /// no other attempt in flight, the time at which this attempt started. Attempts that never wait do not count here.
    last_heard: SinceStart,
    /// The position of the origin in the order of turns. The origin with the smallest ticket is the first.
    ticket: u64,
    group: Option<LimitGroup>,
}

/// A group of origins that have the same limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum LimitGroup {
    /// Origins that are prompt and small.
    Small,
    /// Prompt origins that are not small and use less than their share.
    Large,
    /// Origins that have not answered yet.
    Unproven,
    Slow,
    /// Slow origins that are not small.
    SlowLarge,
    /// Prompt origins that use their whole share. They start an attempt only if no other origin can start one.
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

    /// Replaces all limits. `own_limit` returns the limit that the operator set for an origin. Attempts in flight go on:
    /// if there are more of them than the limits allow, no attempt starts until enough have ended.
    pub(crate) fn set_limits(&mut self, limits: Limits, own_limit: impl Fn(Key) -> Option<usize>) {
        self.limits = limits;
        let slots = self.origins.iter().map(|(_, origin)| origin.slots_in_use(&limits));
        self.in_use = slots.fold(SlotsInUse::default(), SlotsInUse::with);
        let keys: Vec<Key> = self.origins.iter().map(|(key, _)| key).collect();
        for key in keys {
            let own_limit = own_limit(key).map(|own_limit| own_limit.max(1));
            self.change(key, |origin| origin.own_limit = own_limit);
        }
    }

    /// Adds an origin and returns its key. `own_limit` is the limit that the operator set for this origin.
    pub(crate) fn add(&mut self, own_limit: Option<usize>) -> Key {
        self.origins.insert(Origin {
            queue: VecDeque::new(),
            in_flight: 0,
            at_once: 0,
            own_limit: own_limit.map(|own_limit| own_limit.max(1)),
            paused: false,
            average_time: None,
            last_heard: SinceStart::ZERO,
            ticket: 0,
            group: None,
        })
    }

    /// Removes an origin. If the origin [has work](Self::has_work), it is not removed.
    pub(crate) fn remove(&mut self, key: Key) {
        if !self.has_work(key) {
            self.origins.try_remove(key);
        }
    }

    /// Adds a report to the end of the origin's queue.
    pub(crate) fn push(&mut self, key: Key, item: T) {
        let ticket = self.next_ticket();
        self.change(key, |origin| {
            if origin.queue.is_empty() {
                origin.ticket = ticket;
            }
            origin.queue.push_back(item);
        });
    }

    /// Starts the next attempt, if an attempt may start. Returns the key of its origin, and its report. The attempt
    /// uses a slot until [`done`](Self::done) is called.
    pub(crate) fn next(&mut self, now: SinceStart) -> Option<(Key, T)> {
        loop {
            let group = self.next_group()?;
            let (_, &key) = self.ready[group as usize].first_key_value()?;
            if self.has_fallen_silent(key, now) {
                continue;
            }
            let ticket = self.next_ticket();
            let begun = self.change(key, |origin| {
                if origin.in_flight == origin.at_once {
                    origin.last_heard = now;
                }
                origin.in_flight += 1;
                origin.ticket = ticket;
                origin.queue.pop_front()
            });
            return begun.map(|item| (key, item));
        }
    }

    /// Records that an attempt has ended, and frees its slot. If `took` is `None`, the attempt does not show how fast
    /// the origin is.
    pub(crate) fn done(&mut self, key: Key, took: Option<Duration>, now: SinceStart) {
        self.change(key, |origin| {
            origin.in_flight = origin.in_flight.saturating_sub(1);
            let Some(took) = took.map(|took| took.min(LONGEST)) else { return };
            origin.last_heard = now;
            origin.average_time =
                Some(origin.average_time.map_or(took, |average_time| (average_time * INERTIA + took) / (INERTIA + 1)));
        });
    }

    /// Pauses or resumes an origin. A paused origin starts no attempt.
    pub(crate) fn set_paused(&mut self, key: Key, paused: bool) {
        self.change(key, |origin| origin.paused = paused);
    }

    /// Removes all waiting reports of an origin, and returns them in the order in which they were added.
    pub(crate) fn drain(&mut self, key: Key) -> VecDeque<T> {
        self.change(key, |origin| std::mem::take(&mut origin.queue))
    }

    /// Removes all waiting reports of all origins, and returns them.
    pub(crate) fn drain_all(&mut self) -> Vec<T> {
        let keys: Vec<Key> = self.origins.iter().map(|(key, _)| key).collect();
        keys.into_iter().flat_map(|key| self.drain(key)).collect()
    }

    /// Returns the number of waiting reports.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Returns the number of slots in use.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_use.all
    }

    /// Whether the origin has a waiting report or an attempt in flight.
    pub(crate) fn has_work(&self, key: Key) -> bool {
        self.origins.get(key).is_some_and(|origin| origin.in_flight > 0 || !origin.queue.is_empty())
    }

    /// Returns the group of the origin that starts the next attempt.
    ///
    /// If the first of the large origins cannot start an attempt, no large origin may start one. Otherwise other large
    /// origins could always take the slots that the first large origin needs, and this origin might never start an
    /// attempt.
    fn next_group(&self) -> Option<LimitGroup> {
        if self.in_use.all >= self.limits.total {
            return None;
        }
        let first = |group: LimitGroup| {
            let (&ticket, &key) = self.ready[group as usize].first_key_value().filter(|_| self.is_open(group))?;
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

    /// Whether the limits that all origins of this group have together allow an attempt.
    fn is_open(&self, group: LimitGroup) -> bool {
        let Limits { slow, unproven, .. } = self.limits;
        let SlotsInUse { by_slow, by_unproven, .. } = self.in_use;
        match group {
            LimitGroup::Small | LimitGroup::Large | LimitGroup::BeyondShare => true,
            LimitGroup::Unproven => by_unproven < unproven,
            LimitGroup::Slow | LimitGroup::SlowLarge => by_slow < slow && by_unproven < unproven,
        }
    }

    fn has_room_for_large(&self, key: Key) -> bool {
        let in_flight = self.origins.get(key).map_or(0, |origin| origin.in_flight);
        // When an origin stops being small, all slots of this origin are counted as used by large origins. So the
        // number of slots that large origins use may grow by more than one.
        let grown = if in_flight <= self.limits.small { in_flight + 1 } else { 1 };
        self.in_use.by_large + grown <= self.limits.large
    }

    /// Returns whether a prompt origin has become silent: it has attempts in flight that had a turn, and none of them
    /// has ended for a second. If so, marks the origin as slow.
    fn has_fallen_silent(&mut self, key: Key, now: SinceStart) -> bool {
        let Some(origin) = self.origins.get(key) else { return false };
        let silent = origin.in_flight > origin.at_once && now.saturating_sub(origin.last_heard) >= PROMPT;
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

    /// Changes an origin with `change`. Every change must use this method, because this method updates the sums and the
    /// groups.
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
        if self.queue.is_empty() { None } else { self.group_of_next(limits) }
    }

    /// Returns the group of the origin, as if it had an attempt to start.
    fn group_of_next(&self, limits: &Limits) -> Option<LimitGroup> {
        let n = self.in_flight;
        let most = self.own_limit.unwrap_or(limits.share);
        if self.paused {
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
