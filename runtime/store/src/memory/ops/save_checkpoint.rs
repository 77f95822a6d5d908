//! Stores the checkpoint of a running request.

use super::Apply;
use crate::checkpoint::Saved;
use crate::clock::Now;
use crate::memory::Tables;
use crate::memory::requests::KeptCheckpoint;
use crate::ops::SaveCheckpoint;
use crate::record::RequestState;

impl Apply for SaveCheckpoint {
    fn apply(&self, tables: &mut Tables, now: Now) -> Saved {
        let quotas = tables.quotas.clone();
        let Some(row) = tables.current_request(&self.claim, &RequestState::Running) else { return Saved::Stale };
        let (before, bytes) = (row.checkpoint.as_ref().map_or(0, |kept| kept.value.len()), self.value.len());
        // These bytes count against the memory limit of requests until the request has ended.
        if bytes > before && !quotas.requests.try_reserve(0, bytes - before) {
            return Saved::NoRoom;
        }
        quotas.requests.release(0, before.saturating_sub(bytes));
        row.bytes = row.bytes - before + bytes;
        row.checkpoint = Some(KeptCheckpoint { value: self.value.clone(), saved: now.wall });
        Saved::Yes
    }
}
