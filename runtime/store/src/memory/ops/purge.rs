//! Deletes rows that ended long ago, and gives up held reports.

use std::collections::HashSet;

use super::Apply;
use crate::audit::LONGER_THAN_REQUESTS;
use crate::clock::Now;
use crate::memory::reports::Reports;
use crate::memory::{DueKey, Finished, Row, Tables};
use crate::ops::{Purge, Purged};
use crate::parked::NOT_ENABLED;
use crate::record::DeliveryState;
use postback_wire::id::ReportId;
use postback_wire::time::Timestamp;

impl Apply for Purge {
    fn apply(&self, tables: &mut Tables, now: Now) -> Purged {
        let old = tables.old(self);
        let deleted = old.len();
        for key in old {
            tables.forget(key);
        }
        tables.tokens.purge_audit(self.before.saturating_sub(LONGER_THAN_REQUESTS), self.limit);
        let given_up = tables.give_up_held(self.before, self.limit, now);
        let more_figures = tables.series.purge(&self.figures, self.limit);
        Purged { deleted, given_up, more: deleted.max(given_up) >= self.limit || more_figures }
    }
}

impl Tables {
    /// Returns the keys of up to `limit` finished rows that are old enough to be deleted.
    fn old(&self, op: &Purge) -> Vec<DueKey> {
        let before = |finished: &Finished| match &finished.row {
            Row::Request(id) => self.requests.get(id).map_or(op.before, |row| op.before(&row.new.route)),
            Row::Report(_) => op.before,
        };
        // The rows are in the order of their ends. So if no route has a time of its own, the first rows are the old ones.
        let latest = op.of_routes.iter().map(|(_, before)| *before).max().unwrap_or_default().max(op.before);
        let ended = self.finished.range(..(latest, 0));
        let old = ended.filter(|((ended, _), finished)| *ended < before(finished));
        let mut old: Vec<DueKey> = old.map(|(key, _)| *key).take(op.limit).collect();
        old.extend(self.reports_of(&old, op));
        old
    }

    /// Returns the keys of the finished reports about these requests, if the routes of the requests keep their requests
    /// for a shorter time than others.
    fn reports_of(&self, requests: &[DueKey], op: &Purge) -> Vec<DueKey> {
        if op.of_routes.is_empty() {
            return Vec::new();
        }
        let requests = requests.iter().filter_map(|key| match &self.finished.get(key)?.row {
            Row::Request(id) => self.requests.get(id).filter(|row| op.before(&row.new.route) > op.before),
            Row::Report(_) => None,
        });
        let reports = requests.filter_map(|row| self.subjects.get(row.new.id.as_str())).flat_map(Reports::ids);
        let reports: HashSet<&ReportId> = reports.collect();
        let is_theirs = |finished: &Finished| matches!(&finished.row, Row::Report(id) if reports.contains(id));
        let theirs = self.finished.iter().filter(|((ended, _), finished)| *ended >= op.before && is_theirs(finished));
        theirs.map(|(key, _)| *key).collect()
    }

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
                self.parked.forget_held(key, &row.new.to);
                self.give_up(id, DeliveryState::Gone, NOT_ENABLED, now.wall);
                given_up += 1;
            }
        }
        given_up
    }
}
