//! Records when schedules were last due.

use super::Apply;
use crate::clock::Now;
use crate::memory::Tables;
use crate::ops::RecordTicks;

impl Apply for RecordTicks {
    fn apply(&self, tables: &mut Tables, _: Now) {
        for (name, last) in &self.0 {
            let known = tables.ticks.entry(name.to_string()).or_insert(*last);
            *known = (*known).max(*last);
        }
    }
}
