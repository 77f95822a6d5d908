//! Claims due requests. The routes share the free slots.

use super::Apply;
use crate::clock::Now;
use crate::memory::Tables;
use crate::ops::ClaimRequests;
use crate::record::{Batch, ClaimedRequest, RequestState};
use crate::share::{Line, shares};
use crate::sizes::CLAIM_BYTES;

impl Apply for ClaimRequests {
    fn apply(&self, tables: &mut Tables, now: Now) -> Batch<ClaimedRequest> {
        let Now { due: now, wall } = now;
        let line = |(at, route): (usize, &String)| Line {
            running: self.running.get(at).copied().unwrap_or(0),
            due: tables.first_due(route).filter(|due| *due <= now),
        };
        let mut lines: Vec<Line> = self.routes.iter().enumerate().map(line).collect();
        let mut rows: Vec<ClaimedRequest> = Vec::new();
        let mut bytes = 0;
        while rows.len() < self.limit {
            // Each round of this loop claims one request, because in memory a claim of several requests at a time would
            // save little.
            let Some((at, _)) = shares(&lines, 1).first().copied() else { break };
            let (Some(line), Some(route)) = (lines.get_mut(at), self.routes.get(at)) else { break };
            let first = tables.due_requests.get(route).and_then(|waiting| waiting.first_key_value());
            let Some((key, row)) = first.and_then(|(key, id)| Some((*key, tables.requests.get(id)?))) else { break };
            if bytes > 0 && bytes + row.bytes > CLAIM_BYTES {
                line.due = None;
                continue;
            }
            bytes += row.bytes;
            let Some(row) = tables.take_waiting(route, key).and_then(|id| tables.requests.get_mut(&id)) else { break };
            row.state = RequestState::Running;
            row.epoch += 1;
            row.started = Some(wall);
            tables.running += 1;
            rows.push(row.claimed());
            line.running += 1;
            line.due = tables.first_due(route).filter(|due| *due <= now);
        }
        let next_due = self.routes.iter().filter_map(|route| tables.first_due(route)).min();
        Batch { rows, next_due }
    }
}
