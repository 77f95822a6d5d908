//! Writes posted reports.

use super::Apply;
use crate::clock::Now;
use crate::memory::Tables;
use crate::ops::{Post, Posted};

impl Apply for Post {
    fn apply(&self, tables: &mut Tables, now: Now) -> Posted {
        for outgoing in &self.reports {
            tables.insert_report(outgoing, now);
        }
        Posted::Written
    }
}
