//! Deletes rows that ended long ago, and gives up held reports.

use super::Apply;
use crate::audit::LONGER_THAN_REQUESTS;
use crate::clock::Now;
use crate::memory::Tables;
use crate::ops::{Purge, Purged};
use crate::parked::NOT_ENABLED;
use crate::record::DeliveryState;
use postback_wire::time::Timestamp;

impl Apply for Purge {
    fn apply(&self, tables: &mut Tables, now: Now) -> Purged {
        let is_old = |(ended, _): &(Timestamp, u64)| *ended < self.before;
        let mut deleted = 0;
        while deleted < self.limit && tables.finished.first_key_value().is_some_and(|(key, _)| is_old(key)) {
            deleted += usize::from(tables.forget_oldest());
        }
        tables.tokens.purge_audit(self.before.saturating_sub(LONGER_THAN_REQUESTS), self.limit);
        let given_up = tables.give_up_held(self.before, self.limit, now);
        Purged { deleted, given_up, more: deleted.max(given_up) >= self.limit }
    }
}

impl Tables {
    /// Ends up to `limit` held reports as gone, if the reports were due before this wall-clock time. Returns the number
    /// of reports that were ended.
    fn give_up_held(&mut self, before: Timestamp, limit: usize, now: Now) -> usize {
        let mut given_up = 0;
        while given_up < limit
            && let Some(first) = self.parked.held.first_entry().filter(|first| first.key().0 < now.due_at(before))
        {
            let (key, id) = first.remove_entry();
            if let Some(row) = self.reports.get_mut(&id) {
                row.held = false;
                if let Some(disabled) = self.parked.disabled.get_mut(row.new.to.url()) {
                    disabled.held.remove(&key);
                }
                self.give_up(id, DeliveryState::Gone, NOT_ENABLED, now.wall);
                given_up += 1;
            }
        }
        given_up
    }
}
