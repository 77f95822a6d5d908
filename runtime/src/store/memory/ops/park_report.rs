//! Parks a report.

use super::Apply;
use crate::store::clock::Now;
use crate::store::memory::Tables;
use crate::store::ops::ParkReport;
use crate::store::record::Settled;

impl Apply for ParkReport {
    fn apply(&self, tables: &mut Tables, _: Now) -> Settled {
        let Some(row) = tables.unclaim(&self.claim) else { return Settled::Stale };
        let key = (row.due, row.seq);
        let line = self.line.as_deref().unwrap_or_else(|| row.new.to.origin()).to_owned();
        tables.parked.by_line.entry(line).or_default().insert(key, self.claim.id);
        Settled::Current
    }
}
