//! Holds a report whose URL is disabled.

use super::Apply;
use crate::clock::Now;
use crate::memory::Tables;
use crate::ops::{HoldReport, Holding};

impl Apply for HoldReport {
    fn apply(&self, tables: &mut Tables, _: Now) -> Holding {
        let id = self.claim.id;
        let Some(row) = tables.unclaim(&self.claim) else { return Holding::Stale };
        let (key, new) = ((row.due, row.seq), row.new.clone());
        let Some(disabled) = tables.parked.disabled_mut(&new.to) else {
            tables.due_reports.insert(key, id);
            return Holding::Pending;
        };
        disabled.held.insert(key, id);
        tables.parked.held.insert(key, id);
        if let Some(row) = tables.reports.get_mut(&id) {
            row.held = true;
        }
        Holding::Held
    }
}
