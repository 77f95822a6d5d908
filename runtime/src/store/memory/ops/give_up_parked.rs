//! Gives up parked reports that are too old.

use std::collections::BTreeMap;

use super::Apply;
use crate::id::ReportId;
use crate::store::clock::Now;
use crate::store::memory::Tables;
use crate::store::ops::GiveUpParked;
use crate::store::parked::TOO_OLD;
use crate::store::record::DeliveryState;

impl Apply for GiveUpParked {
    fn apply(&self, tables: &mut Tables, now: Now) -> Vec<ReportId> {
        let parked = tables.parked.by_line.values().flat_map(BTreeMap::values);
        let is_old = |id: &&ReportId| tables.reports.get(id).is_some_and(|row| row.new.created < self.before);
        let old: Vec<ReportId> = parked.filter(is_old).take(self.limit).copied().collect();
        for id in &old {
            if let Some(row) = tables.reports.get(id) {
                let (key, origin) = ((row.due, row.seq), row.new.to.origin().to_owned());
                if let Some(parked) = tables.parked.by_line.get_mut(&origin) {
                    parked.remove(&key);
                    if parked.is_empty() {
                        tables.parked.by_line.remove(&origin);
                    }
                }
                tables.give_up(*id, DeliveryState::Dead, TOO_OLD, now.wall);
            }
        }
        old
    }
}
