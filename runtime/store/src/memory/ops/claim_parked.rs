//! Claims parked reports.

use super::Apply;
use crate::clock::Now;
use crate::memory::Tables;
use crate::ops::ClaimParked;
use crate::record::{Batch, ClaimedReport};

impl Apply for ClaimParked {
    fn apply(&self, tables: &mut Tables, now: Now) -> Batch<ClaimedReport> {
        // The reports that are parked under this origin or URL are removed from the map. If the claim does not take all
        // of them, the others are put into the map again below. So the map never has an entry without reports.
        let Some(mut parked) = tables.parked.by_line.remove(&self.line) else {
            return Batch { rows: Vec::new(), next_due: None };
        };
        let rows = tables.claim_first(&mut parked, self.limit, now.due);
        let next_due = parked.first_key_value().map(|((due, _), _)| *due);
        if next_due.is_some() {
            tables.parked.by_line.insert(self.line.clone(), parked);
        }
        Batch { rows, next_due }
    }
}
