//! Puts back claimed reports that were not attempted.

use super::Apply;
use crate::ops::ReleaseReport;
use crate::postgres::Batch;
use crate::postgres::reports::{put_back, settled};
use crate::sql::states::sql;
use postback_wire::time::Timestamp;

impl Apply for ReleaseReport {
    async fn apply(batch: &mut Batch<'_>) -> Result<(), sqlx::Error> {
        let sql = sql!(
            "UPDATE report AS r SET state = {pending}, node = NULL, due = coalesce(i.due, $4), attempt = r.attempt - 1 \
             FROM unnest($1::uuid[], $2::bigint[], $3::bigint[]) AS i (id, epoch, due) \
             WHERE r.id = i.id AND r.epoch = i.epoch AND r.state + 0 = {delivering} RETURNING r.id, r.state"
        );
        put_back::<Self, i64>(batch, sql, |op| (&op.claim, op.due.map(Timestamp::micros)), settled).await
    }
}
