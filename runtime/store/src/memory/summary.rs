//! Summaries of the requests in the memory backend. Pieces of a result share the memory of the whole result.

use bytes::Bytes;

use super::Tables;
use crate::progress::Progress;
use crate::record::RequestState;
use crate::summary::{EndSummary, Kept, Member, Stage, Summary};
use crate::timeline::{RUNS, Timeline};
use postback_wire::id::RequestId;
use postback_wire::report::{Json, Reason};

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
                is_elsewhere: outcome.reason == Reason::Elsewhere,
                error: kept(&outcome.error),
            }),
        };
        Some(Summary {
            route: row.new.route.clone(),
            owner: row.new.owner.clone(),
            extras: row.new.extras.clone(),
            stage,
        })
    }

    pub(super) fn timeline(&self, id: &RequestId) -> Option<Timeline> {
        let (row, summary) = (self.requests.get(id)?, self.summary(id)?);
        let started = row.started.filter(|_| row.state != RequestState::Queued);
        let runs = row.runs.iter().skip(row.runs.len().saturating_sub(RUNS)).cloned().collect();
        let progress = row.progress.as_ref().map(|kept| kept.progress.clone());
        Some(Timeline { created: row.new.created, runs, epoch: row.epoch, started, progress, summary })
    }

    pub(super) fn progress(&self, id: &RequestId) -> Option<Progress> {
        let row = self.requests.get(id)?;
        row.progress.as_ref().map(|kept| &kept.progress).filter(|progress| progress.epoch == row.epoch).cloned()
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
