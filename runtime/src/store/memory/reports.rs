//! Reports of the memory backend.

use bytes::Bytes;

use super::{Row, Tables};
use crate::id::ReportId;
use crate::store::operation::{Outgoing, report_bytes};
use crate::store::record::{
    Attempt, Batch, Claim, ClaimedReport, DeliveryRecord, DeliveryState, NewReport, Next, ReportClaim, Settled,
};
use crate::time::Timestamp;

/// Deliveries of one subject that are told, at most.
const MOST_TOLD: usize = 100;

pub(super) struct Report {
    seq: u64,
    new: NewReport,
    due: Timestamp,
    epoch: u32,
    attempt: u32,
    state: DeliveryState,
    last: Option<Attempt>,
    /// What it takes up in the ledger while undelivered.
    bytes: usize,
}

impl Report {
    fn claimed(&self) -> ClaimedReport {
        ClaimedReport {
            claim: Claim { id: self.new.id, epoch: self.epoch },
            subject: self.new.subject.clone(),
            url: self.new.url.clone(),
            own: self.new.own.clone(),
            body: self.new.body.clone(),
            created: self.new.created,
            attempt: self.attempt,
            note: self.new.note.clone().filter(|_| self.attempt == 1),
        }
    }
}

impl Tables {
    pub(super) fn insert_report(&mut self, Outgoing { report, born }: &Outgoing, now: Timestamp) {
        let seq = self.next_seq();
        let refused = report.refused.is_some();
        let row = Report {
            seq,
            due: report.created,
            epoch: u32::from(*born),
            attempt: u32::from(*born),
            state: match (refused, born) {
                (true, _) => DeliveryState::Refused,
                (false, true) => DeliveryState::Delivering,
                (false, false) => DeliveryState::Pending,
            },
            last: None,
            bytes: report_bytes(report),
            new: report.clone(),
        };
        self.subjects.entry(report.subject.clone()).or_default().insert(seq, report.id);
        let (bytes, due) = (row.bytes, row.due);
        self.reports.insert(report.id, row);
        if refused {
            self.finish((now, seq), Row::Report(report.id), bytes);
        } else if !born {
            self.due_reports.insert((due, seq), report.id);
        }
    }

    pub(super) fn claim_reports(&mut self, limit: usize, now: Timestamp) -> Batch<ClaimedReport> {
        let mut rows = Vec::new();
        while rows.len() < limit
            && let Some(first) = self.due_reports.first_entry().filter(|first| first.key().0 <= now)
        {
            let Some(row) = self.reports.get_mut(&first.remove()) else { continue };
            row.state = DeliveryState::Delivering;
            row.epoch += 1;
            row.attempt += 1;
            rows.push(row.claimed());
        }
        Batch { rows, next_due: self.due_reports.first_key_value().map(|((due, _), _)| *due) }
    }

    fn current_report(&mut self, claim: &ReportClaim) -> Option<&mut Report> {
        let row = self.reports.get_mut(&claim.id)?;
        (row.state == DeliveryState::Delivering && row.epoch == claim.epoch).then_some(row)
    }

    pub(super) fn settle_report(
        &mut self,
        claim: &ReportClaim,
        attempt: &Attempt,
        next: Next,
        now: Timestamp,
    ) -> Settled {
        let Some(row) = self.current_report(claim) else { return Settled::Stale };
        row.last = Some(attempt.clone());
        row.state = match next {
            Next::RetryAt(due) => {
                row.state = DeliveryState::Pending;
                row.due = due;
                let place = (due, row.seq);
                self.due_reports.insert(place, claim.id);
                return Settled::Current;
            }
            Next::Delivered => DeliveryState::Delivered,
            Next::Dead => DeliveryState::Dead,
            Next::Refused => DeliveryState::Refused,
        };
        // Nobody sends it any more.
        row.new.body = Bytes::new();
        let (place, held, left) = ((now, row.seq), row.bytes, report_bytes(&row.new) + attempt.response.len());
        self.ledgers.reports.release(1, held);
        self.finish(place, Row::Report(claim.id), left);
        Settled::Current
    }

    pub(super) fn release_report(&mut self, claim: &ReportClaim, now: Timestamp) -> Settled {
        let Some(row) = self.current_report(claim) else { return Settled::Stale };
        row.state = DeliveryState::Pending;
        row.due = now;
        row.attempt -= 1;
        let place = (now, row.seq);
        self.due_reports.insert(place, claim.id);
        Settled::Current
    }

    pub(super) fn forget_report(&mut self, id: ReportId) {
        let Some(row) = self.reports.remove(&id) else { return };
        if let Some(ids) = self.subjects.get_mut(&row.new.subject) {
            ids.remove(&row.seq);
            if ids.is_empty() {
                self.subjects.remove(&row.new.subject);
            }
        }
    }

    pub(super) fn deliveries(&self, subject: &str) -> Vec<DeliveryRecord> {
        let rows = self.subjects.get(subject).into_iter().flat_map(|ids| ids.values());
        rows.filter_map(|id| self.reports.get(id)).take(MOST_TOLD).map(record).collect()
    }

    pub(super) fn undelivered(&self) -> u64 {
        let open = |row: &&Report| matches!(row.state, DeliveryState::Pending | DeliveryState::Delivering);
        self.reports.values().filter(open).count() as u64
    }
}

fn record(row: &Report) -> DeliveryRecord {
    DeliveryRecord {
        id: row.new.id,
        url: row.new.url.clone(),
        state: row.state,
        attempts: row.attempt,
        next_due: (row.state == DeliveryState::Pending).then_some(row.due),
        last: row.last.clone(),
        refused: row.new.refused.clone(),
    }
}
