//! Writes posted reports.

use super::Apply;
use crate::store::clock::Now;
use crate::store::memory::Tables;
use crate::store::ops::Post;

impl Apply for Post {
    fn apply(&self, tables: &mut Tables, now: Now) {
        for outgoing in &self.reports {
            tables.insert_report(outgoing, now);
        }
    }
}
