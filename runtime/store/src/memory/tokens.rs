//! Tokens and the audit of the memory backend.

use std::collections::{HashMap, VecDeque};

use crate::audit::{AuditRecord, MOST_ENTRIES, NewAudit};
use crate::tokens::TokenRecord;
use postback_wire::time::Timestamp;

#[derive(Default)]
pub(super) struct Tokens {
    /// All tokens, the oldest first.
    pub(super) records: Vec<TokenRecord>,
    /// When each token was last used, by id.
    pub(super) uses: HashMap<String, Timestamp>,
    /// The entries of the audit, the oldest first.
    pub(super) audit: VecDeque<AuditRecord>,
    last_entry: i64,
}

impl Tokens {
    pub(super) fn write_audit(&mut self, entry: &NewAudit, at: Timestamp) {
        self.last_entry += 1;
        self.audit.push_back(AuditRecord { seq: self.last_entry, at, entry: entry.clone() });
        if self.audit.len() > MOST_ENTRIES as usize {
            self.audit.pop_front();
        }
    }

    pub(super) fn audited(&self, before: i64, limit: usize) -> Vec<AuditRecord> {
        self.audit.iter().rev().filter(|record| record.seq < before).take(limit).cloned().collect()
    }

    /// Deletes up to `limit` entries that are older than this time.
    pub(super) fn purge_audit(&mut self, before: Timestamp, limit: usize) {
        for _ in 0..limit {
            if self.audit.pop_front_if(|record| record.at < before).is_none() {
                return;
            }
        }
    }
}
