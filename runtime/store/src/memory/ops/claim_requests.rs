//! Claims due requests. The routes share the free slots, and the owners of a route share those of the route.

use std::collections::HashMap;

use super::Apply;
use crate::clock::Now;
use crate::memory::Tables;
use crate::ops::{ClaimRequests, Claimed};
use crate::record::{Batch, ClaimedRequest, Owner, RequestState};
use crate::share::{Line, shares};
use crate::sizes::CLAIM_BYTES;
use postback_wire::id::RequestId;

impl Apply for ClaimRequests {
    fn apply(&self, tables: &mut Tables, now: Now) -> Claimed {
        for route in &*self.routes {
            tables.wake(route, now.due);
        }
        let line = |(place, route): (usize, &String)| Line {
            running: self.load(place).running,
            free: self.load(place).free,
            turn: tables.turns.of(route),
            due: tables.waiting.next(route).filter(|due| *due <= now.due),
        };
        let mut lines: Vec<Line> = self.routes.iter().enumerate().map(line).collect();
        let mut rows: Vec<ClaimedRequest> = Vec::new();
        let mut claimed_of = HashMap::<(usize, Owner), usize>::new();
        let mut bytes = 0;
        while rows.len() < self.limit {
            // Each round of this loop claims one request, because in memory a claim of several requests at a time would
            // save little.
            let Some((place, _)) = shares(&lines, 1).first().copied() else { break };
            let (Some(line), Some(route)) = (lines.get_mut(place), self.routes.get(place)) else { break };
            let busy = |owner: &Owner| {
                self.busy.of(route, owner) + claimed_of.get(&(place, owner.clone())).copied().unwrap_or(0)
            };
            let Some((owner, id)) = first(tables, route, busy) else { break };
            let size = tables.requests.get(&id).map_or(0, |row| row.bytes);
            if bytes > 0 && bytes + size > CLAIM_BYTES {
                line.due = None;
                continue;
            }
            bytes += size;
            rows.extend(tables.claim(&id, now));
            tables.turns.served(route, Some(owner.clone()));
            *claimed_of.entry((place, owner)).or_default() += 1;
            line.running += 1;
            line.free -= 1;
            line.due = tables.waiting.next(route).filter(|due| *due <= now.due);
        }
        let next: Vec<_> = self.routes.iter().map(|route| tables.waiting.next(route)).collect();
        let next_due = next.iter().zip(&lines).filter(|(_, line)| line.free > 0).filter_map(|(next, _)| *next).min();
        Claimed { batch: Batch { rows, next_due }, next }
    }
}

/// Returns the next request of a route: the first request of the owner with the fewest running requests. If several
/// owners have equally few, the one whose turn comes first. `busy` returns the number of running requests of an owner.
fn first(tables: &Tables, route: &str, busy: impl Fn(&Owner) -> usize) -> Option<(Owner, RequestId)> {
    let firsts = tables.waiting.firsts(route, tables.turns.last_owner(route));
    let (owner, id) = firsts.into_iter().min_by_key(|(owner, _)| busy(owner))?;
    Some((owner.clone(), id.clone()))
}

impl Tables {
    /// Claims a waiting request. Its run begins now, unless the request has expired: then it will not run.
    pub(super) fn claim(&mut self, id: &RequestId, now: Now) -> Option<ClaimedRequest> {
        self.waits_no_more(id);
        let row = self.requests.get_mut(id)?;
        row.state = RequestState::Running;
        row.epoch += 1;
        self.running += 1;
        let expired = row.failures == 0 && row.deadline.is_some_and(|deadline| deadline <= now.due);
        if !expired {
            row.started = Some(now.wall);
        }
        Some(ClaimedRequest { expired, ..row.claimed() })
    }
}
