//! Lists of the requests in the memory backend.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::Tables;
use super::requests::Request;
use crate::list::{Cursor, LOOKED_AT, ListFilter, Listed, ListedStatus, Page};
use crate::record::{NewRequest, RequestState};
use postback_wire::id::RequestId;

/// The requests of one owner and one route, by the order of their arrival.
pub(super) type OfOwner = BTreeMap<u64, RequestId>;

impl Tables {
    /// Adds a new request to the lists.
    pub(super) fn list_new(&mut self, seq: u64, request: &NewRequest) {
        let routes = self.lists.entry(request.owner.clone()).or_default();
        match routes.get_mut(&request.route) {
            Some(list) => drop(list.insert(seq, request.id.clone())),
            None => drop(routes.insert(request.route.clone(), BTreeMap::from([(seq, request.id.clone())]))),
        }
    }

    /// Removes a deleted request from the lists.
    pub(super) fn unlist(&mut self, row: &Request) {
        let Some(routes) = self.lists.get_mut(&row.new.owner) else { return };
        if let Some(list) = routes.get_mut(&row.new.route) {
            list.remove(&row.seq);
            if list.is_empty() {
                routes.remove(&row.new.route);
            }
        }
        if routes.is_empty() {
            self.lists.remove(&row.new.owner);
        }
    }

    pub(super) fn list(
        &self,
        route: &str,
        owner: &str,
        filter: &ListFilter,
        after: Option<Cursor>,
        limit: usize,
    ) -> Page {
        let mut page = Page { rows: Vec::new(), next: None };
        let Some(list) = self.lists.get(owner).and_then(|routes| routes.get(route)) else { return page };
        let before = after.map_or(Bound::Unbounded, |Cursor(seq)| Bound::Excluded(seq.max(0).unsigned_abs()));
        let mut previous = None;
        for (looked_at, (seq, id)) in list.range((Bound::Unbounded, before)).rev().enumerate() {
            if looked_at >= LOOKED_AT || page.rows.len() >= limit {
                page.next = previous;
                break;
            }
            previous = Some(Cursor(seq.cast_signed()));
            page.rows.extend(self.requests.get(id).map(listed).filter(|row| filter.passes(row)));
        }
        page
    }
}

fn listed(row: &Request) -> Listed {
    let (status, finished) = match &row.state {
        RequestState::Queued => (ListedStatus::Queued, None),
        RequestState::Running => (ListedStatus::Running, None),
        RequestState::Settled(outcome) => (ListedStatus::Ended(outcome.status), Some(outcome.finished)),
    };
    Listed { id: row.new.id.clone(), status, created: row.new.created, finished }
}
