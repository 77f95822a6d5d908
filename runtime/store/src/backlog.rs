//! Counts the requests that wait to be run, and refuses new requests beyond the bounds.
//!
//! Invariant: the count is the number of requests that the backend has in state "queued", plus the new requests that
//! are on their way to the writer. A new request takes a [`QueueSlot`] before it goes to the writer. If the row is
//! written as waiting, the slot stays occupied; otherwise the slot becomes free again. The writer reports all other
//! changes after their commit. So callers cannot exceed a bound, however many call at the same time.
//!
//! If other nodes use the same database, the counts are only nearly right: each node counts what it does itself, and
//! reads the counts of all from time to time.
//!
//! A request that is put back after a run is counted even beyond the bounds, because it was accepted before.

mod owners;
mod slot;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::HeaderMap;

pub use self::owners::OwnerLimits;
use self::owners::Owners;
pub(crate) use self::slot::{QueueSlot, Waited};
use crate::error::Bound;
use crate::record::{ClaimedRequest, Owner};
use postback_wire::id::RequestId;
use postback_wire::names::metric;

/// The size of a usual request, in bytes. The store counts as full if [`Backlog::bound`] finds no space for a request
/// of this size. The store does not count as full if it only has no space for larger requests.
const USUAL: u64 = 64 << 10;

/// The limits of the requests that wait to be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    pub rows: u64,
    /// The largest number of bytes that all waiting requests may have together. A single request may have more bytes if
    /// no other request waits.
    pub bytes: u64,
}

impl Limits {
    const NONE: Self = Self { rows: u64::MAX, bytes: u64::MAX };

    /// Returns the bound that refuses a new request of `bytes` bytes while the requests in `all` wait. `None`: no bound
    /// refuses the request.
    fn bound(self, all: Count, bytes: u64) -> Option<Bound> {
        if all.rows >= self.rows {
            Some(Bound::Rows(self.rows))
        } else if all.rows > 0 && all.bytes.saturating_add(bytes) > self.bytes {
            Some(Bound::Bytes(self.bytes))
        } else {
            None
        }
    }
}

/// A number of requests, and the number of bytes of their headers and bodies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub rows: u64,
    pub bytes: u64,
}

/// Returns the number of bytes that a request takes in the store. The backends compute this number by the same rule.
pub(crate) fn stored_bytes(headers: &HeaderMap, body: &Bytes) -> u64 {
    // Each header counts as a text line `name: value` with a line break, which has 3 bytes more than the name and the
    // value.
    let headers: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 3).sum();
    (headers + body.len()) as u64
}

/// Limits, and the number of requests that they have refused since they began to refuse requests.
struct Refusals {
    limits: Limits,
    /// `None`: new requests are accepted.
    refused: Option<u64>,
}

impl Refusals {
    fn of(limits: Limits) -> Self {
        Self { limits, refused: None }
    }

    /// Refuses a new request of `bytes` bytes if a limit is reached while the requests in `all` wait. `name` makes the
    /// bound that is told.
    fn check(&mut self, all: Count, bytes: u64, name: impl FnOnce(Bound) -> Bound) -> Result<(), Bound> {
        let Limits { rows: most, bytes: most_bytes } = self.limits;
        if let Some(bound) = self.limits.bound(all, bytes).map(name) {
            metrics::counter!(metric::REQUESTS_REFUSED, "reason" => bound.name()).increment(1);
            if self.refused.is_none() {
                tracing::warn!("requests are refused until fewer wait: {bound}");
            }
            *self.refused.get_or_insert(0) += 1;
            return Err(bound);
        }
        // The store logs "accepted again" only when a tenth of the bound is free. Otherwise the store would log
        // "accepted again" at the first free slot, the next request would fill that slot, and the store would log
        // "refused" and "accepted again" without end.
        let eased = |now: u64, most: u64| now <= most - most / 10;
        if eased(all.rows, most)
            && eased(all.bytes, most_bytes)
            && let Some(refused) = self.refused.take()
        {
            tracing::info!("requests are accepted again; {refused} were refused");
        }
        Ok(())
    }
}

pub(crate) struct Backlog {
    owners: Owners,
    state: Mutex<State>,
}

struct State {
    /// Whether only this process changes the rows, so that the counts are exact.
    is_exact: bool,
    all: Count,
    refusals: Refusals,
    by_route: HashMap<Arc<str>, Route>,
    /// The requests that run now.
    running: HashMap<RequestId, Running>,
}

struct Running {
    route: Arc<str>,
    owner: Owner,
    /// If the request must wait again, the store counts it as waiting with these bytes.
    bytes: u64,
}

struct Route {
    count: Count,
    refusals: Refusals,
    /// The number of running requests of each owner. An owner without running requests is not in the map.
    busy: HashMap<Owner, usize>,
    /// Whether `count` has changed since the gauges of the metrics were last set.
    changed: bool,
}

impl State {
    fn name(&mut self, route: &str) -> Arc<str> {
        if let Some((name, _)) = self.by_route.get_key_value(route) {
            return name.clone();
        }
        let name: Arc<str> = route.into();
        let refusals = Refusals::of(Limits::NONE);
        let route = Route { count: Count::default(), refusals, busy: HashMap::new(), changed: false };
        self.by_route.insert(name.clone(), route);
        name
    }

    fn add(&mut self, route: &str, more: Count) {
        let of_route = self.by_route.get_mut(route);
        for count in std::iter::once(&mut self.all).chain(of_route.map(Route::change)) {
            count.rows += more.rows;
            count.bytes += more.bytes;
        }
    }

    fn remove(&mut self, route: &str, bytes: u64) {
        let of_route = self.by_route.get_mut(route);
        for count in std::iter::once(&mut self.all).chain(of_route.map(Route::change)) {
            let has_row = count.rows > 0 && count.bytes >= bytes;
            debug_assert!(has_row || !self.is_exact, "{count:?} holds no such row");
            count.rows = count.rows.saturating_sub(1);
            count.bytes = count.bytes.saturating_sub(bytes);
        }
    }
}

impl State {
    fn begin(&mut self, id: &RequestId, running: Running) {
        if let Some(route) = self.by_route.get_mut(&running.route) {
            *route.busy.entry(running.owner.clone()).or_default() += 1;
            route.changed = true;
        }
        self.running.insert(id.clone(), running);
    }

    fn end(&mut self, id: &RequestId) -> Option<Running> {
        let running = self.running.remove(id)?;
        let route = self.by_route.get_mut(&running.route)?;
        route.changed = true;
        if let Some(busy) = route.busy.get_mut(&running.owner) {
            *busy -= 1;
            if *busy == 0 {
                route.busy.remove(&running.owner);
            }
        }
        Some(running)
    }
}

impl Route {
    fn change(&mut self) -> &mut Count {
        self.changed = true;
        &mut self.count
    }
}

impl Backlog {
    /// Makes the count of waiting requests. `left` is the number of requests that an earlier process left waiting, by
    /// route. `owners` is the number by owner.
    pub(crate) fn new(limits: Limits, left: HashMap<String, Count>, owners: HashMap<Owner, Count>) -> Self {
        let (by_route, running) = (HashMap::new(), HashMap::new());
        let refusals = Refusals::of(limits);
        let mut state = State { is_exact: true, all: Count::default(), refusals, by_route, running };
        for (route, count) in left {
            let name = state.name(&route);
            state.add(&name, count);
        }
        Self { owners: Owners::new(owners), state: Mutex::new(state) }
    }

    /// Records that other nodes change the rows, too, so that the counts are only nearly right.
    pub(crate) fn shared_with_others(self) -> Self {
        self.lock().is_exact = false;
        self
    }

    /// Sets the limits of all routes together.
    pub(crate) fn limit(&self, limits: Limits) {
        self.lock().refusals.limits = limits;
    }

    /// Sets the limits of single routes. A route that is not in `limits` has only those of all routes together.
    pub(crate) fn limit_routes(&self, limits: impl IntoIterator<Item = (String, Limits)>) {
        let mut state = self.lock();
        state.by_route.values_mut().for_each(|route| route.refusals.limits = Limits::NONE);
        for (route, limits) in limits {
            let name = state.name(&route);
            if let Some(route) = state.by_route.get_mut(&name) {
                route.refusals.limits = limits;
            }
        }
    }

    /// Whether the bounds would accept a new request of this route now. Nothing is counted as refused.
    pub(crate) fn has_room(&self, route: &str, bytes: u64) -> bool {
        let state = self.lock();
        let of_route =
            state.by_route.get(route).and_then(|Route { count, refusals, .. }| refusals.limits.bound(*count, bytes));
        state.refusals.limits.bound(state.all, bytes).or(of_route).is_none()
    }

    /// Takes a slot for a new request of this route and this owner, before the request goes to the writer. Fails if a
    /// bound refuses the request. `of_owner` are the limits of the owner.
    pub(crate) fn take(
        self: &Arc<Self>,
        route: &str,
        (owner, of_owner): (&Owner, OwnerLimits),
        bytes: u64,
    ) -> Result<QueueSlot, Bound> {
        let mut state = self.lock();
        let State { all, refusals, .. } = &mut *state;
        refusals.check(*all, bytes, |bound| bound)?;
        let route = state.name(route);
        if let Some(Route { count, refusals, .. }) = state.by_route.get_mut(&route) {
            refusals.check(*count, bytes, |bound| bound.of_route(&route))?;
        }
        self.owners.take(owner, bytes, of_owner)?;
        state.add(&route, Count { rows: 1, bytes });
        Ok(QueueSlot::new(self.clone(), route, owner.clone(), bytes))
    }

    /// Returns the bound that would refuse a request of usual size now. `None`: no bound would refuse the request.
    pub(super) fn bound(&self) -> Option<Bound> {
        let state = self.lock();
        let limits = state.refusals.limits;
        limits.bound(state.all, USUAL.min(limits.bytes / 10))
    }

    /// Replaces the counts of waiting requests by those in the database, which other nodes change too.
    pub(super) fn recount(&self, routes: HashMap<String, Count>, owners: HashMap<Owner, Count>) {
        let mut state = self.lock();
        state.all = Count::default();
        for route in state.by_route.values_mut() {
            *route.change() = Count::default();
        }
        for (route, count) in routes {
            let name = state.name(&route);
            state.add(&name, count);
        }
        drop(state);
        self.owners.recount(owners);
    }

    /// Counts the claimed requests as running instead of waiting.
    pub(super) fn claimed<'a>(&self, rows: impl IntoIterator<Item = &'a ClaimedRequest>) {
        let mut state = self.lock();
        for row in rows {
            let (route, bytes) = (state.name(&row.route), stored_bytes(&row.headers, &row.body));
            state.remove(&route, bytes);
            state.begin(&row.claim.id, Running { route, owner: row.owner.clone(), bytes });
            self.owners.claimed(row, bytes);
        }
    }

    /// Counts a request as waiting again, because the run of the request ended without an outcome.
    pub(super) fn released(&self, id: &RequestId) {
        let mut state = self.lock();
        if let Some(Running { route, bytes, .. }) = state.end(id) {
            state.add(&route, Count { rows: 1, bytes });
            self.owners.released(id);
        }
    }

    /// Removes a settled request from the count. If the request was waiting, `waited` has the route and the bytes of
    /// the request. If the request was running, `waited` is `None`, and the route is returned.
    pub(super) fn settled(&self, id: &RequestId, waited: Option<&Waited>) -> Option<Arc<str>> {
        let mut state = self.lock();
        if let Some(Waited { route, owner, bytes }) = waited {
            state.remove(route, *bytes);
            self.owners.remove(owner, *bytes);
            None
        } else {
            self.owners.settled(id);
            state.end(id).map(|running| running.route)
        }
    }

    /// Returns the route of a running request.
    pub(super) fn route_of(&self, id: &RequestId) -> Option<Arc<str>> {
        self.lock().running.get(id).map(|running| running.route.clone())
    }

    /// Sets the gauges of the metrics for the routes whose counts have changed.
    pub(super) fn set_gauges(&self) {
        let mut state = self.lock();
        for (name, route) in state.by_route.iter_mut().filter(|(_, route)| route.changed) {
            route.changed = false;
            #[expect(clippy::cast_precision_loss, reason = "2^52 rows or bytes fit on no disk")]
            let (rows, bytes, running) =
                (route.count.rows as f64, route.count.bytes as f64, route.busy.values().sum::<usize>() as f64);
            metrics::gauge!(metric::REQUESTS_QUEUED, "route" => Arc::clone(name)).set(rows);
            metrics::gauge!(metric::REQUESTS_RUNNING, "route" => Arc::clone(name)).set(running);
            metrics::gauge!(metric::REQUESTS_QUEUED_BYTES, "route" => Arc::clone(name)).set(bytes);
        }
    }

    /// Returns the number of waiting requests of all routes together.
    #[cfg(test)]
    pub(crate) fn count(&self) -> Count {
        self.lock().all
    }

    #[cfg(test)]
    pub(crate) fn count_of(&self, route: &str) -> Count {
        self.lock().by_route.get(route).map_or(Count::default(), |route| route.count)
    }

    #[cfg(test)]
    pub(crate) fn count_of_owner(&self, owner: &str) -> Count {
        self.owners.count_of(owner)
    }

    #[cfg(test)]
    pub(crate) fn running(&self) -> usize {
        self.lock().running.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many requests of each owner run. A claim reads the numbers of the owners that it looks at.
#[derive(Clone, Default)]
pub(crate) struct Busy(Option<Arc<Backlog>>);

impl Busy {
    pub(crate) fn of_all(backlog: &Arc<Backlog>) -> Self {
        Self(Some(backlog.clone()))
    }

    /// Returns how many requests of this route and this owner run.
    pub(crate) fn of(&self, route: &str, owner: &str) -> usize {
        let Some(backlog) = &self.0 else { return 0 };
        backlog.lock().by_route.get(route).and_then(|route| route.busy.get(owner).copied()).unwrap_or(0)
    }
}

impl std::fmt::Debug for Busy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Busy").finish_non_exhaustive()
    }
}
