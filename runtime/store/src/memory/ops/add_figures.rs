//! Adds the figures of a minute.

use super::Apply;
use crate::clock::Now;
use crate::memory::Tables;
use crate::ops::AddFigures;

impl Apply for AddFigures {
    fn apply(&self, tables: &mut Tables, _: Now) {
        for row in &*self.rows {
            tables.series.add(self.minute, row);
        }
    }
}
