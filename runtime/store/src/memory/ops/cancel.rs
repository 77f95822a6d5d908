//! Marks a running request as cancelled.

use super::Apply;
use crate::clock::Now;
use crate::memory::Tables;
use crate::ops::CancelRunning;
use crate::record::{Claim, RequestClaim, RequestState};

impl Apply for CancelRunning {
    fn apply(&self, tables: &mut Tables, _: Now) -> Option<RequestClaim> {
        let row = tables.requests.get_mut(&self.id).filter(|row| row.state == RequestState::Running)?;
        row.cancelled = true;
        Some(Claim { id: self.id.clone(), epoch: row.epoch })
    }
}
