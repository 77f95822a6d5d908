//! Writes posted reports.

use super::Apply;
use crate::clock::Now;
use crate::memory::Tables;
use crate::ops::Post;

impl Apply for Post {
    fn apply(&self, tables: &mut Tables, now: Now) {
        for outgoing in &self.reports {
            tables.insert_report(outgoing, now);
        }
    }
}
