//! Makes a claimed report pending again.

use super::Apply;
use crate::clock::Now;
use crate::memory::Tables;
use crate::ops::ReleaseReport;
use crate::record::Settled;

impl Apply for ReleaseReport {
    fn apply(&self, tables: &mut Tables, now: Now) -> Settled {
        let Some(row) = tables.unclaim(&self.claim) else { return Settled::Stale };
        row.due = self.due.unwrap_or(now.due);
        let key = (row.due, row.seq);
        tables.due_reports.insert(key, self.claim.id);
        Settled::Current
    }
}
