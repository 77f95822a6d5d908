//! Summaries of the requests in the memory backend. Pieces of a result share the memory of the whole result.

use bytes::Bytes;

use super::Tables;
use crate::record::RequestState;
use crate::summary::{EndSummary, Kept, Member, Stage, Summary};
use postback_wire::id::RequestId;
use postback_wire::report::Json;

impl Tables {
    pub(super) fn summary(&self, id: &RequestId) -> Option<Summary> {
        let row = self.requests.get(id)?;
        let kept = |json: &Option<Json>| json.as_ref().map(|json| Kept::of(json.bytes()));
        let stage = match &row.state {
            RequestState::Queued => Stage::Queued,
            RequestState::Running => Stage::Running,
            RequestState::Settled(outcome) => Stage::Settled(EndSummary {
                status: outcome.status,
                reason: outcome.told_reason(),
                finished: outcome.finished,
                result: kept(&outcome.result),
                error: kept(&outcome.error),
            }),
        };
        Some(Summary { route: row.new.route.clone(), stage })
    }

    pub(super) fn piece(&self, id: &RequestId, member: Member, at: usize, len: usize) -> Option<Bytes> {
        let RequestState::Settled(outcome) = &self.requests.get(id)?.state else { return None };
        let json = match member {
            Member::Result => outcome.result.as_ref()?.bytes(),
            Member::Error => outcome.error.as_ref()?.bytes(),
        };
        let begin = at.min(json.len());
        Some(json.slice(begin..(begin + len).min(json.len())))
    }
}
