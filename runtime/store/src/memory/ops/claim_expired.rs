//! Claims requests whose first run should have begun by now.

use super::Apply;
use crate::clock::Now;
use crate::memory::Tables;
use crate::ops::ClaimExpired;
use crate::record::{Batch, ClaimedRequest};
use crate::sizes::CLAIM_BYTES;

impl Apply for ClaimExpired {
    fn apply(&self, tables: &mut Tables, now: Now) -> Batch<ClaimedRequest> {
        let (mut rows, mut bytes) = (Vec::new(), 0);
        for id in tables.waiting.expired(now.due, self.limit) {
            let size = tables.requests.get(&id).map_or(0, |row| row.bytes);
            if bytes > 0 && bytes + size > CLAIM_BYTES {
                break;
            }
            bytes += size;
            rows.extend(tables.claim(&id, now));
        }
        Batch { rows, next_due: tables.waiting.next_deadline() }
    }
}
