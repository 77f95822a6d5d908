//! Reports of the memory backend that are set aside.

use std::collections::{BTreeMap, HashMap};

use super::{DueKey, Tables};
use crate::id::ReportId;
use crate::store::clock::Now;
use crate::store::operation::{Enabled, Op, Reply};
use crate::store::parked::{NOT_ENABLED, TOO_OLD};
use crate::store::record::{Batch, ClaimedReport, DeliveryState, Disabled, ReportClaim, Settled};
use crate::time::Timestamp;

#[derive(Default)]
pub(super) struct ParkedReports {
    /// By the line under which they were parked; one that is here has reports.
    parked: BTreeMap<String, BTreeMap<DueKey, ReportId>>,
    disabled: HashMap<String, Off>,
    /// All held ones.
    held: BTreeMap<DueKey, ReportId>,
}

/// A disabled URL and what is held for it.
struct Off {
    since: Timestamp,
    reason: String,
    held: BTreeMap<DueKey, ReportId>,
}

impl ParkedReports {
    pub(super) fn lines(&self) -> Vec<String> {
        self.parked.keys().cloned().collect()
    }

    pub(super) fn disable(&mut self, url: &str, since: Timestamp, reason: String) {
        self.disabled.entry(url.to_owned()).or_insert_with(|| Off { since, reason, held: BTreeMap::new() });
    }

    pub(super) fn disabled(&self) -> Vec<Disabled> {
        let one =
            |(url, off): (&String, &Off)| Disabled { url: url.clone(), since: off.since, reason: off.reason.clone() };
        let mut disabled: Vec<_> = self.disabled.iter().map(one).collect();
        disabled.sort_by(|a, b| (a.since, &a.url).cmp(&(b.since, &b.url)));
        disabled
    }
}

impl Tables {
    pub(super) fn park_report(&mut self, claim: &ReportClaim, line: Option<&str>) -> Settled {
        let Some(row) = self.unclaim(claim) else { return Settled::Stale };
        let place = (row.due, row.seq);
        let line = line.unwrap_or_else(|| row.new.to.origin()).to_owned();
        self.aside.parked.entry(line).or_default().insert(place, claim.id);
        Settled::Current
    }

    pub(super) fn claim_parked(&mut self, line: &str, limit: usize, now: Timestamp) -> Batch<ClaimedReport> {
        // Out and in again: a line without reports is not kept.
        let Some(mut parked) = self.aside.parked.remove(line) else {
            return Batch { rows: Vec::new(), next_due: None };
        };
        let rows = self.claim_first(&mut parked, limit, now);
        let next_due = parked.first_key_value().map(|((due, _), _)| *due);
        if next_due.is_some() {
            self.aside.parked.insert(line.to_owned(), parked);
        }
        Batch { rows, next_due }
    }

    pub(super) fn hold_report(&mut self, claim: &ReportClaim) -> Reply {
        let Some(row) = self.unclaim(claim) else { return Reply::Settled(Settled::Stale) };
        let (place, new) = ((row.due, row.seq), row.new.clone());
        let Some(off) = self.aside.disabled.get_mut(new.to.url()) else {
            self.due_reports.insert(place, claim.id);
            return Reply::Settled(Settled::Current);
        };
        off.held.insert(place, claim.id);
        self.aside.held.insert(place, claim.id);
        if let Some(row) = self.reports.get_mut(&claim.id) {
            row.held = true;
        }
        Reply::Held
    }

    pub(super) fn enable(&mut self, op: &Op, now: Now) -> Option<Reply> {
        let Op::Enable { url, limit, probe } = op else { return None };
        let mut reports = 0;
        let mut done = true;
        if let Some(off) = self.aside.disabled.get_mut(url) {
            while reports < *limit
                && let Some((place, id)) = off.held.pop_first()
            {
                self.aside.held.remove(&place);
                if let Some(row) = self.reports.get_mut(&id) {
                    (row.held, row.due) = (false, now.due);
                    self.due_reports.insert((now.due, row.seq), id);
                    reports += 1;
                }
            }
            done = off.held.is_empty() && !probe;
        }
        if done && !probe {
            self.aside.disabled.remove(url);
        }
        Some(Reply::Enabled(Enabled { reports, done }))
    }

    pub(super) fn give_up_parked(&mut self, before: Timestamp, limit: usize, now: Timestamp) -> Vec<ReportId> {
        let parked = self.aside.parked.values().flat_map(BTreeMap::values);
        let is_old = |id: &&ReportId| self.reports.get(id).is_some_and(|row| row.new.created < before);
        let old: Vec<ReportId> = parked.filter(is_old).take(limit).copied().collect();
        for id in &old {
            if let Some(row) = self.reports.get(id) {
                let (place, origin) = ((row.due, row.seq), row.new.to.origin().to_owned());
                if let Some(parked) = self.aside.parked.get_mut(&origin) {
                    parked.remove(&place);
                    if parked.is_empty() {
                        self.aside.parked.remove(&origin);
                    }
                }
                self.give_up(*id, DeliveryState::Dead, TOO_OLD, now);
            }
        }
        old
    }

    /// Gives up what is held and was due before this moment of the wall clock.
    pub(super) fn give_up_held(&mut self, before: Timestamp, limit: usize, now: Now) -> usize {
        let mut given_up = 0;
        while given_up < limit
            && let Some(first) = self.aside.held.first_entry().filter(|first| first.key().0 < now.due_at(before))
        {
            let (place, id) = first.remove_entry();
            if let Some(row) = self.reports.get_mut(&id) {
                row.held = false;
                if let Some(off) = self.aside.disabled.get_mut(row.new.to.url()) {
                    off.held.remove(&place);
                }
                self.give_up(id, DeliveryState::Gone, NOT_ENABLED, now.wall);
                given_up += 1;
            }
        }
        given_up
    }
}
