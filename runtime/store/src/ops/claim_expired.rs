//! Claims requests whose first run should have begun by now, so that the worker settles them.

use crate::Store;
use crate::error::Error;
use crate::feed::Change;
use crate::local::Local;
use crate::operation::{Operation, Untaken};
use crate::overview::RequestStatus;
use crate::record::{Batch, ClaimedRequest};

/// The operation that claims up to `limit` waiting requests whose first run should have begun by now. The requests may
/// have any route.
#[derive(Debug)]
pub(crate) struct ClaimExpired {
    pub limit: usize,
}

impl Operation for ClaimExpired {
    type Answer = Batch<ClaimedRequest>;

    fn committed(&self, answer: &Batch<ClaimedRequest>, local: &Local) {
        local.backlog.claimed(&answer.rows);
        local.wake.deadlines.next(answer.next_due);
    }

    fn changes(&self, answer: &Batch<ClaimedRequest>, changes: &mut Vec<Change>) {
        changes.extend(answer.rows.iter().map(|row| Change::request(&row.claim.id, RequestStatus::Running)));
    }

    fn untaken(answer: Batch<ClaimedRequest>, untaken: &mut Untaken) {
        untaken.requests.extend(answer.rows.into_iter().map(|row| row.claim));
    }
}

impl Store {
    /// Claims up to `limit` waiting requests whose first run should have begun by now (the term `deadline`). The caller
    /// must settle them. The claimed rows have at most 8 MiB, unless the first row alone has more. The time `next_due`
    /// in the answer is the next such time of a waiting request.
    pub async fn claim_expired(&self, limit: usize) -> Result<Batch<ClaimedRequest>, Error> {
        Ok(self.by_wall(self.ask(ClaimExpired { limit }).await?))
    }

    /// Waits until some request may expire earlier than the last call of [`claim_expired`](Self::claim_expired) has
    /// returned. If that has happened since the last call, this method does not wait. Only one task should call this
    /// method.
    pub async fn expires_earlier(&self) {
        self.0.shared.local.wake.deadlines.earlier.notified().await;
    }
}
