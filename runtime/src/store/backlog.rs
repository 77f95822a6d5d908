//! The requests that wait, counted as they come and go, and the bounds on them.
//!
//! Invariant: what is counted is what the backend has in state "queued", and what is on its way there. A submission takes its
//! place before it goes to the writer; the place stays with the row if it is written to wait, and is given back else. All other
//! changes are learnt by the writer, after their commit. So no number of callers at once gets beyond a bound.
//!
//! What is put back after a run takes its place whatever the bounds say: it was accepted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::HeaderMap;

use super::error::Bound;
use super::operation::Waited;
use super::record::ClaimedRequest;
use crate::id::RequestId;
use crate::names::metric;

/// The bytes of a request that is not a large one. That there is no room for large ones keeps no others out.
const USUAL: u64 = 64 << 10;

/// What may wait, at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) rows: u64,
    /// One that finds nothing else waiting may have more.
    pub(crate) bytes: u64,
}

impl Limits {
    /// What keeps a request of so many bytes out where so much waits.
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

/// Requests, and the bytes of their headers and bodies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
}

/// Bytes of a request in the store. The backends count the same.
pub(crate) fn stored_bytes(headers: &HeaderMap, body: &Bytes) -> u64 {
    // A line `name: value` for each.
    let headers: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 3).sum();
    (headers + body.len()) as u64
}

pub(crate) struct Backlog {
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    all: Count,
    by_route: HashMap<Arc<str>, Route>,
    /// What runs takes its place again when it is put back. As many as run at once.
    running: HashMap<RequestId, (Arc<str>, u64)>,
    /// Requests refused since the first that was.
    refused: Option<u64>,
}

#[derive(Default)]
struct Route {
    count: Count,
    /// Since the gauges were set.
    changed: bool,
}

impl State {
    fn name(&mut self, route: &str) -> Arc<str> {
        if let Some((name, _)) = self.by_route.get_key_value(route) {
            return name.clone();
        }
        let name: Arc<str> = route.into();
        self.by_route.insert(name.clone(), Route::default());
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
            debug_assert!(count.rows > 0 && count.bytes >= bytes, "{count:?} holds no such row");
            count.rows = count.rows.saturating_sub(1);
            count.bytes = count.bytes.saturating_sub(bytes);
        }
    }
}

impl Route {
    fn change(&mut self) -> &mut Count {
        self.changed = true;
        &mut self.count
    }
}

impl Backlog {
    /// With what an earlier process left.
    pub(crate) fn new(limits: Limits, left: HashMap<String, Count>) -> Self {
        let mut state = State::default();
        for (route, count) in left {
            let name = state.name(&route);
            state.add(&name, count);
        }
        Self { limits, state: Mutex::new(state) }
    }

    /// A place for a request that is about to be submitted.
    pub(crate) fn take(self: &Arc<Self>, route: &str, bytes: u64) -> Result<QueueSlot, Bound> {
        let Limits { rows: most, bytes: most_bytes } = self.limits;
        let mut state = self.lock();
        if let Some(bound) = self.limits.bound(state.all, bytes) {
            metrics::counter!(metric::REQUESTS_REFUSED, "reason" => bound.name()).increment(1);
            if state.refused.is_none() {
                tracing::warn!("requests are refused until fewer wait: {bound}");
            }
            *state.refused.get_or_insert(0) += 1;
            return Err(bound);
        }
        // Not told as soon as one place is free: it would be taken, and told, again and again.
        let all = state.all;
        let eased = |now: u64, most: u64| now <= most - most / 10;
        if eased(all.rows, most)
            && eased(all.bytes, most_bytes)
            && let Some(refused) = state.refused.take()
        {
            tracing::info!("requests are accepted again; {refused} were refused");
        }
        let route = state.name(route);
        state.add(&route, Count { rows: 1, bytes });
        Ok(QueueSlot { backlog: self.clone(), route, bytes, stays: false })
    }

    /// What would keep a usual request out.
    pub(super) fn bound(&self) -> Option<Bound> {
        self.limits.bound(self.lock().all, USUAL.min(self.limits.bytes / 10))
    }

    /// These run now, and wait no more.
    pub(super) fn claimed<'a>(&self, rows: impl IntoIterator<Item = &'a ClaimedRequest>) {
        let mut state = self.lock();
        for row in rows {
            let (route, bytes) = (state.name(&row.route), stored_bytes(&row.headers, &row.body));
            state.remove(&route, bytes);
            state.running.insert(row.claim.id.clone(), (route, bytes));
        }
    }

    /// Its run was put an end to, and it waits again.
    pub(super) fn released(&self, id: &RequestId) {
        let mut state = self.lock();
        if let Some((route, bytes)) = state.running.remove(id) {
            state.add(&route, Count { rows: 1, bytes });
        }
    }

    /// It came to its end: after a run, or while it waited as told.
    pub(super) fn settled(&self, id: &RequestId, waited: Option<&Waited>) {
        let mut state = self.lock();
        match waited {
            Some(Waited { route, bytes }) => state.remove(route, *bytes),
            None => drop(state.running.remove(id)),
        }
    }

    /// Tells the metrics of what has changed.
    pub(super) fn tell(&self) {
        let mut state = self.lock();
        for (name, route) in state.by_route.iter_mut().filter(|(_, route)| route.changed) {
            route.changed = false;
            #[expect(clippy::cast_precision_loss, reason = "2^52 rows or bytes fit on no disk")]
            let (rows, bytes) = (route.count.rows as f64, route.count.bytes as f64);
            metrics::gauge!(metric::REQUESTS_QUEUED, "route" => name.to_string()).set(rows);
            metrics::gauge!(metric::REQUESTS_QUEUED_BYTES, "route" => name.to_string()).set(bytes);
        }
    }

    /// What waits, of all routes.
    #[cfg(test)]
    pub(crate) fn count(&self) -> Count {
        self.lock().all
    }

    #[cfg(test)]
    pub(crate) fn count_of(&self, route: &str) -> Count {
        self.lock().by_route.get(route).map_or(Count::default(), |route| route.count)
    }

    #[cfg(test)]
    pub(crate) fn running(&self) -> usize {
        self.lock().running.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among those that wait; given back when it is dropped, unless the row has it.
pub(crate) struct QueueSlot {
    backlog: Arc<Backlog>,
    route: Arc<str>,
    bytes: u64,
    stays: bool,
}

impl QueueSlot {
    /// The row was written, and waits.
    pub(super) fn waits(mut self) {
        self.stays = true;
    }

    /// The row was written as running.
    pub(super) fn runs(self, id: &RequestId) {
        self.backlog.lock().running.insert(id.clone(), (self.route.clone(), self.bytes));
    }
}

impl Drop for QueueSlot {
    fn drop(&mut self) {
        if !self.stays {
            self.backlog.lock().remove(&self.route, self.bytes);
        }
    }
}

impl std::fmt::Debug for QueueSlot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueueSlot").field("route", &self.route).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}
