//! Makes a claimed report pending again.

use super::Apply;
use crate::store::clock::Now;
use crate::store::memory::Tables;
use crate::store::ops::ReleaseReport;
use crate::store::record::Settled;

impl Apply for ReleaseReport {
    fn apply(&self, tables: &mut Tables, now: Now) -> Settled {
        let Some(row) = tables.unclaim(&self.claim) else { return Settled::Stale };
        row.due = self.due.unwrap_or(now.due);
        let key = (row.due, row.seq);
        tables.due_reports.insert(key, self.claim.id);
        Settled::Current
    }
}
