//! Puts a running request back into the queue.

use super::Apply;
use crate::clock::Now;
use crate::memory::Tables;
use crate::ops::ReleaseRequest;
use crate::record::{RequestState, Settled};

impl Apply for ReleaseRequest {
    fn apply(&self, tables: &mut Tables, now: Now) -> Settled {
        let Some(row) = tables.current_request(&self.claim, &RequestState::Running) else { return Settled::Stale };
        row.state = RequestState::Queued;
        // If the request is cancelled, it is due now: it is not run again, so it need not wait for its next run.
        let due = self.due.unwrap_or(now.due);
        let due = if row.cancelled { due.min(now.due) } else { due };
        row.due = due;
        row.failures += u32::from(self.failed);
        let (key, route) = ((due, row.seq), row.new.route.clone());
        tables.running -= 1;
        tables.add_waiting(&route, key, self.claim.id.clone());
        Settled::Current
    }
}
