//! Puts a running request back into the queue.

use super::Apply;
use crate::clock::Now;
use crate::memory::Tables;
use crate::ops::ReleaseRequest;
use crate::record::{RequestState, Settled};
use crate::timeline::EarlierRun;

impl Apply for ReleaseRequest {
    fn apply(&self, tables: &mut Tables, now: Now) -> Settled {
        let Some(row) = tables.current_request(&self.claim, &RequestState::Running) else { return Settled::Stale };
        row.state = RequestState::Queued;
        let started = row.started.take().unwrap_or(row.new.created);
        if self.begun {
            let (epoch, end, detail) = (row.epoch, self.end(), self.detail.clone());
            row.runs.push(EarlierRun { epoch, started, ended: now.wall, end, detail });
            // The deadline of a request is met as soon as its first run has begun.
            row.deadline = None;
        }
        // If the request is cancelled, the request is due now. A cancelled request is not run again, so it need not
        // wait until its next run is due.
        let due = self.due.unwrap_or(now.due);
        let due = if row.cancelled { due.min(now.due) } else { due };
        row.due = due;
        row.failures += u32::from(self.failed);
        tables.running -= 1;
        tables.waits(&self.claim.id, now.due);
        Settled::Current
    }
}
