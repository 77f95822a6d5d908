//! Disables a URL or an origin for an operator.

use super::Apply;
use crate::clock::Now;
use crate::memory::Tables;
use crate::ops::Disable;

impl Apply for Disable {
    fn apply(&self, tables: &mut Tables, now: Now) -> bool {
        tables.parked.disable_by_operator(&self.name, now.wall, &self.reason)
    }
}
