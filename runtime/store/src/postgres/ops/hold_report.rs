//! Holds reports whose URL is disabled; the other reports are pending again.

use super::Apply;
use crate::ops::{HoldReport, Holding};
use crate::postgres::Batch;
use crate::postgres::reports::put_back;
use crate::sql::states::{ReportState, sql};

impl Apply for HoldReport {
    async fn apply(batch: &mut Batch<'_>) -> Result<(), sqlx::Error> {
        // Both the URL and its origin may be disabled. Then the report is held for what was disabled first.
        let sql = sql!(
            "UPDATE report AS r SET (held, state) = \
             (SELECT d.seq, CASE WHEN d.seq IS NULL THEN {pending} ELSE {held} END \
              FROM report_body AS b LEFT JOIN disabled AS d ON d.url = ANY(ARRAY[b.url, r.origin]) \
              WHERE b.seq = r.seq ORDER BY d.seq LIMIT 1), \
             node = NULL, attempt = r.attempt - 1 \
             FROM unnest($1::uuid[], $2::bigint[], $3::boolean[]) AS i (id, epoch, third) \
             WHERE r.id = i.id AND r.epoch = i.epoch AND r.state + 0 = {delivering} RETURNING r.id, r.state"
        );
        let holding = |state| match state {
            None => Holding::Stale,
            Some(ReportState::Held) => Holding::Held,
            Some(_) => Holding::Pending,
        };
        put_back::<Self, bool>(batch, sql, |op| (&op.claim, None), holding).await
    }
}
