//! Enables a URL, and makes the reports that are held for it due.

use super::Apply;
use crate::clock::Now;
use crate::memory::Tables;
use crate::ops::{Enable, Enabled};

impl Apply for Enable {
    fn apply(&self, tables: &mut Tables, now: Now) -> Enabled {
        let mut reports = 0;
        let mut done = true;
        if let Some(disabled) = tables.parked.disabled.get_mut(&self.url) {
            while reports < self.limit
                && let Some((key, id)) = disabled.held.pop_first()
            {
                tables.parked.held.remove(&key);
                if let Some(row) = tables.reports.get_mut(&id) {
                    (row.held, row.due) = (false, now.due);
                    tables.due_reports.insert((now.due, row.seq), id);
                    reports += 1;
                }
            }
            done = disabled.held.is_empty() && !self.probe;
        }
        if done && !self.probe {
            tables.parked.disabled.remove(&self.url);
        }
        Enabled { reports, done }
    }
}
