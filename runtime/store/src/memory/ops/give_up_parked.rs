//! Gives up parked reports that are too old.

use std::collections::BTreeMap;

use super::Apply;
use crate::clock::Now;
use crate::memory::Tables;
use crate::ops::GiveUpParked;
use crate::parked::TOO_OLD;
use crate::record::DeliveryState;
use postback_wire::id::ReportId;

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
