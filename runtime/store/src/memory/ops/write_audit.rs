//! Writes an entry of the audit.

use super::Apply;
use crate::clock::Now;
use crate::memory::Tables;
use crate::ops::WriteAudit;

impl Apply for WriteAudit {
    fn apply(&self, tables: &mut Tables, now: Now) {
        tables.tokens.write_audit(&self.0, now.wall);
    }
}
