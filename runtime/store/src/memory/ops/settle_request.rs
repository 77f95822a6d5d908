//! Writes the outcome of a request, and its reports.

use bytes::Bytes;
use http::HeaderMap;

use super::Apply;
use crate::clock::Now;
use crate::memory::{Row, Tables};
use crate::operation::Outgoing;
use crate::ops::SettleRequest;
use crate::record::{RequestState, Settled};
use crate::sizes::{outcome_bytes, report_bytes};

impl Apply for SettleRequest {
    fn apply(&self, tables: &mut Tables, now: Now) -> Settled {
        let from = if self.is_queued() { RequestState::Queued } else { RequestState::Running };
        let Some(row) = tables.current_request(&self.claim, &from) else {
            for Outgoing { report, .. } in self.reports.iter().filter(|outgoing| outgoing.report.refused.is_none()) {
                tables.quotas.reports.release(1, report_bytes(report));
            }
            return Settled::Stale;
        };
        row.state = RequestState::Settled(self.outcome.clone());
        // The headers, the body, the registration and the checkpoint are deleted, because nobody reads them after the request has
        // ended. The digest of the route and the body is kept.
        row.new.body = Bytes::new();
        row.new.headers = HeaderMap::new();
        row.registration = None;
        row.checkpoint = None;
        let told = row.progress.as_ref().map_or(0, |kept| kept.bytes);
        let (key, bytes) = ((self.outcome.finished, row.seq), row.bytes);
        if self.is_queued() {
            tables.waits_no_more(&self.claim.id);
        } else {
            tables.running -= 1;
        }
        tables.quotas.requests.release(1, bytes);
        tables.finish(key, Row::Request(self.claim.id.clone()), outcome_bytes(&self.outcome) + told);
        for outgoing in &self.reports {
            tables.insert_report(outgoing, now);
        }
        Settled::Current
    }
}
