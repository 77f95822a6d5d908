//! The requests of the memory backend that wait to be run.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use super::requests::Request;
use super::{DueKey, Tables};
use crate::record::Owner;
use crate::share::OWNERS;
use postback_wire::id::RequestId;
use postback_wire::time::Timestamp;

/// The sort key among the due requests of one owner: the highest priority first, and then the order of [`DueKey`].
type Rank = (Reverse<i8>, DueKey);

/// The waiting requests of all routes.
#[derive(Default)]
pub(super) struct Waiting {
    routes: HashMap<String, OfRoute>,
    /// The requests whose first run must begin in time, by that time. It is in the store's own time.
    deadlines: BTreeMap<DueKey, RequestId>,
}

#[derive(Default)]
struct OfRoute {
    /// The requests that are due. Each owner in the map has one.
    due: BTreeMap<Owner, BTreeMap<Rank, RequestId>>,
    later: BTreeMap<DueKey, RequestId>,
}

impl Request {
    fn rank(&self) -> Rank {
        (Reverse(self.new.terms.priority), (self.due, self.seq))
    }

    fn deadline(&self) -> Option<DueKey> {
        self.deadline.filter(|_| self.failures == 0).map(|deadline| (deadline, self.seq))
    }
}

impl Waiting {
    pub(super) fn add(&mut self, row: &Request, now: Timestamp) {
        if let Some(deadline) = row.deadline() {
            self.deadlines.insert(deadline, row.new.id.clone());
        }
        let of_route = match self.routes.get_mut(&row.new.route) {
            Some(of_route) => of_route,
            None => self.routes.entry(row.new.route.clone()).or_default(),
        };
        of_route.add(row, now);
    }

    pub(super) fn remove(&mut self, row: &Request) {
        if let Some(deadline) = row.deadline() {
            self.deadlines.remove(&deadline);
        }
        let Some(of_route) = self.routes.get_mut(&row.new.route) else { return };
        if of_route.later.remove(&(row.due, row.seq)).is_none()
            && let Some(due) = of_route.due.get_mut(&row.new.owner)
        {
            due.remove(&row.rank());
            if due.is_empty() {
                of_route.due.remove(&row.new.owner);
            }
        }
        if of_route.due.is_empty() && of_route.later.is_empty() {
            self.routes.remove(&row.new.route);
        }
    }

    /// Returns the due time of the first request of a route that can be claimed. `None`: no request of the route waits.
    pub(super) fn next(&self, route: &str) -> Option<Timestamp> {
        let of_route = self.routes.get(route)?;
        let due = of_route.due.values().next().and_then(|of_owner| of_owner.first_key_value());
        let due = due.map(|((_, (due, _)), _)| *due);
        due.or_else(|| of_route.later.first_key_value().map(|((due, _), _)| *due))
    }

    /// Returns the first request of each of up to [`OWNERS`] owners, in the order of their turns. The first one is the
    /// owner after `last`, and the first of all owners comes after the last of all owners.
    pub(super) fn firsts(&self, route: &str, last: Option<&Owner>) -> Vec<(&Owner, &RequestId)> {
        let Some(OfRoute { due, .. }) = self.routes.get(route) else { return Vec::new() };
        let from = last.map_or(Bound::Unbounded, Bound::Excluded);
        let after = due.range::<Owner, _>((from, Bound::Unbounded));
        let before = last.map(|last| due.range::<Owner, _>(..=last)).into_iter().flatten();
        let owners = after.chain(before).take(OWNERS);
        owners.filter_map(|(owner, rows)| Some((owner, rows.first_key_value()?.1))).collect()
    }

    /// Returns the ids of requests whose first run should have begun by `now`, at most `limit`.
    pub(super) fn expired(&self, now: Timestamp, limit: usize) -> Vec<RequestId> {
        self.deadlines
            .iter()
            .take_while(|((deadline, _), _)| *deadline <= now)
            .take(limit)
            .map(|(_, id)| id.clone())
            .collect()
    }

    /// Returns the time until which the first run of some request must begin. No request has an earlier one.
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.first_key_value().map(|((deadline, _), _)| *deadline)
    }

    /// Returns the due time of the request of each route that became due first, or that becomes due next.
    pub(super) fn first_due(&self) -> impl Iterator<Item = (&str, Timestamp)> {
        self.routes.iter().filter_map(|(route, of_route)| {
            let due = of_route.due.values().flat_map(|of_owner| of_owner.keys().map(|(_, (due, _))| *due));
            let later = of_route.later.first_key_value().map(|((due, _), _)| *due);
            Some((route.as_str(), due.chain(later).min()?))
        })
    }

    /// Returns the number of waiting requests of each route.
    pub(super) fn counts(&self) -> impl Iterator<Item = (String, u64)> {
        self.routes.iter().map(|(route, of_route)| {
            let due: usize = of_route.due.values().map(BTreeMap::len).sum();
            (route.clone(), (due + of_route.later.len()) as u64)
        })
    }
}

impl OfRoute {
    fn add(&mut self, row: &Request, now: Timestamp) {
        let id = row.new.id.clone();
        if row.due > now {
            self.later.insert((row.due, row.seq), id);
        } else {
            self.due.entry(row.new.owner.clone()).or_default().insert(row.rank(), id);
        }
    }
}

impl Tables {
    /// Moves the requests of this route that have become due to those that can be claimed.
    pub(super) fn wake(&mut self, route: &str, now: Timestamp) {
        let Some(of_route) = self.waiting.routes.get_mut(route) else { return };
        while let Some(first) = of_route.later.first_entry().filter(|first| first.key().0 <= now) {
            let id = first.remove();
            if let Some(row) = self.requests.get(&id) {
                of_route.add(row, now);
            }
        }
    }

    /// Adds a request to the waiting requests.
    pub(super) fn waits(&mut self, id: &RequestId, now: Timestamp) {
        if let Some(row) = self.requests.get(id) {
            self.waiting.add(row, now);
        }
    }

    /// Removes a request from the waiting requests.
    pub(super) fn waits_no_more(&mut self, id: &RequestId) {
        if let Some(row) = self.requests.get(id) {
            self.waiting.remove(row);
        }
    }
}
