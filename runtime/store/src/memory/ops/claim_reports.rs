//! Claims due reports.

use super::Apply;
use crate::clock::Now;
use crate::memory::Tables;
use crate::ops::ClaimReports;
use crate::record::{Batch, ClaimedReport};

impl Apply for ClaimReports {
    fn apply(&self, tables: &mut Tables, now: Now) -> Batch<ClaimedReport> {
        let mut due = std::mem::take(&mut tables.due_reports);
        let rows = tables.claim_first(&mut due, self.limit, now.due);
        tables.due_reports = due;
        Batch { rows, next_due: tables.due_reports.first_key_value().map(|((due, _), _)| *due) }
    }
}
