//! Parks a report.

use super::Apply;
use crate::clock::Now;
use crate::memory::Tables;
use crate::ops::ParkReport;
use crate::record::Settled;

impl Apply for ParkReport {
    fn apply(&self, tables: &mut Tables, _: Now) -> Settled {
        let Some(row) = tables.unclaim(&self.claim) else { return Settled::Stale };
        let key = (row.due, row.seq);
        let line = self.line.as_deref().unwrap_or_else(|| row.new.to.origin()).to_owned();
        tables.parked.by_line.entry(line).or_default().insert(key, self.claim.id);
        Settled::Current
    }
}
