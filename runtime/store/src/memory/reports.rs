//! Reports of the memory backend.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::{DueKey, Row, Tables};
use crate::clock::Now;
use crate::operation::Outgoing;
use crate::record::{Attempt, ClaimedReport, DeliveryRecord, DeliveryState, NewReport, ReportClaim};
use crate::sizes::{CLAIM_BYTES, report_bytes};
use postback_wire::id::ReportId;
use postback_wire::time::Timestamp;

/// The largest number of deliveries that the store returns for one subject.
const MOST_TOLD: usize = 100;

pub(super) struct Report {
    pub(super) seq: u64,
    pub(super) new: Arc<NewReport>,
    pub(super) due: Timestamp,
    epoch: u32,
    attempt: u32,
    pub(super) state: DeliveryState,
    /// Whether the report is held: it waits until its URL is enabled.
    pub(super) held: bool,
    /// The last attempt that has finished. `None`: no attempt has finished.
    pub(super) last: Option<Attempt>,
    /// The reason why the report was given up without an attempt. `None`: the report was not given up without an
    /// attempt.
    refused: Option<String>,
    /// The number of bytes of the report that count against the memory limit until the delivery has ended.
    bytes: usize,
}

/// The ids of the reports about one subject, the oldest first. Most subjects have only one report, and this type needs
/// no allocation for one id.
#[derive(Default)]
pub(super) struct Reports {
    first: Option<ReportId>,
    others: VecDeque<ReportId>,
}

impl Reports {
    fn add(&mut self, id: ReportId) {
        match self.first {
            None => self.first = Some(id),
            Some(_) => self.others.push_back(id),
        }
    }

    /// Removes a report. Returns whether the subject has more reports.
    fn remove(&mut self, id: ReportId) -> bool {
        if self.first == Some(id) {
            self.first = self.others.pop_front();
        } else if let Some(at) = self.others.iter().position(|other| *other == id) {
            self.others.remove(at);
        }
        self.first.is_some()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = &ReportId> {
        self.first.iter().chain(&self.others)
    }
}

impl Report {
    fn claimed(&self) -> ClaimedReport {
        self.new.clone().claimed(self.epoch, self.attempt)
    }
}

impl Tables {
    pub(super) fn insert_report(&mut self, outgoing: &Outgoing, now: Now) {
        let seq = self.next_seq();
        let (report, is_pre_claimed) = (&outgoing.report, outgoing.is_pre_claimed());
        let refused = report.refused.is_some();
        let row = Report {
            seq,
            due: now.due,
            epoch: u32::from(is_pre_claimed),
            attempt: u32::from(is_pre_claimed),
            state: match (refused, is_pre_claimed) {
                (true, _) => DeliveryState::Refused,
                (false, true) => DeliveryState::Delivering,
                (false, false) => DeliveryState::Pending,
            },
            held: false,
            last: None,
            refused: report.refused.clone(),
            bytes: report_bytes(report),
            new: report.clone(),
        };
        self.subjects.entry(report.subject.clone()).or_default().add(report.id);
        let (bytes, due) = (row.bytes, row.due);
        self.reports.insert(report.id, Box::new(row));
        self.undelivered += u64::from(!refused);
        if refused {
            self.finish((now.wall, seq), Row::Report(report.id), bytes);
        } else if !is_pre_claimed {
            self.due_reports.insert((due, seq), report.id);
        }
    }

    /// Claims up to `limit` of these reports. The reports of one claim are limited in bytes, too. Only reports that are
    /// due by `now` are claimed. The reports that have been due longest are claimed first.
    pub(super) fn claim_first(
        &mut self,
        waiting: &mut BTreeMap<DueKey, ReportId>,
        limit: usize,
        now: Timestamp,
    ) -> Vec<ClaimedReport> {
        let mut rows = Vec::new();
        let mut bytes = 0;
        while rows.len() < limit
            && let Some(first) = waiting.first_entry().filter(|first| first.key().0 <= now)
        {
            let size = self.reports.get(first.get()).map_or(0, |row| row.bytes);
            if bytes > 0 && bytes + size > CLAIM_BYTES {
                break;
            }
            bytes += size;
            let Some(row) = self.reports.get_mut(&first.remove()) else { continue };
            row.state = DeliveryState::Delivering;
            row.epoch += 1;
            row.attempt += 1;
            rows.push(row.claimed());
        }
        rows
    }

    /// Makes a claimed report pending again. The claimed attempt is not counted.
    pub(super) fn unclaim(&mut self, claim: &ReportClaim) -> Option<&mut Report> {
        let row = self.current_report(claim)?;
        row.state = DeliveryState::Pending;
        row.attempt -= 1;
        Some(row)
    }

    /// Returns the report, if the report is being delivered under this claim.
    pub(super) fn current_report(&mut self, claim: &ReportClaim) -> Option<&mut Report> {
        let row = &mut **self.reports.get_mut(&claim.id)?;
        (row.state == DeliveryState::Delivering && row.epoch == claim.epoch).then_some(row)
    }

    /// Ends a report without an attempt. `why` is the reason that the record of the delivery shows.
    pub(super) fn give_up(&mut self, id: ReportId, state: DeliveryState, why: &str, now: Timestamp) {
        if let Some(row) = self.reports.get_mut(&id) {
            row.state = state;
            row.refused = Some(why.into());
            self.finish_report(id, now);
        }
    }

    pub(super) fn finish_report(&mut self, id: ReportId, now: Timestamp) {
        let Some(row) = self.reports.get_mut(&id) else { return };
        self.undelivered -= 1;
        if self.most_finished.0 > 0 {
            // The body is deleted, because the store does not need the body after the last attempt.
            row.new = Arc::new(NewReport { body: Bytes::new(), ..(*row.new).clone() });
        }
        let response = row.last.as_ref().map_or(0, |attempt| attempt.response.len());
        let (key, undelivered, left) = ((now, row.seq), row.bytes, report_bytes(&row.new) + response);
        self.quotas.reports.release(1, undelivered);
        self.finish(key, Row::Report(id), left);
    }

    pub(super) fn forget_report(&mut self, id: ReportId) {
        let Some(row) = self.reports.remove(&id) else { return };
        if self.subjects.get_mut(&row.new.subject).is_some_and(|ids| !ids.remove(id)) {
            self.subjects.remove(&row.new.subject);
        }
    }

    pub(super) fn deliveries(&self, subject: &str) -> Vec<DeliveryRecord> {
        let rows = self.subjects.get(subject).into_iter().flat_map(Reports::ids);
        rows.filter_map(|id| self.reports.get(id)).take(MOST_TOLD).map(|row| record(row)).collect()
    }
}

pub(super) fn record(row: &Report) -> DeliveryRecord {
    DeliveryRecord {
        id: row.new.id,
        webhook_id: row.new.id,
        url: row.new.to.url().to_owned(),
        state: row.state,
        attempts: row.attempt,
        next_due: (row.state == DeliveryState::Pending && !row.held).then_some(row.due),
        last: row.last.clone(),
        refused: row.refused.clone(),
    }
}
