//! Parks reports.

use super::Apply;
use crate::ops::ParkReport;
use crate::postgres::Batch;
use crate::postgres::codec::storable;
use crate::postgres::reports::{put_back, settled};
use crate::sql::states::sql;

impl Apply for ParkReport {
    async fn apply(batch: &mut Batch<'_>) -> Result<(), sqlx::Error> {
        // The statement writes the origin or the URL under which the report is parked into the column `origin`.
        let sql = sql!(
            "UPDATE report AS r SET state = {parked}, node = NULL, attempt = r.attempt - 1, \
             origin = coalesce(i.line, r.origin) \
             FROM unnest($1::uuid[], $2::bigint[], $3::text[]) AS i (id, epoch, line) \
             WHERE r.id = i.id AND r.epoch = i.epoch AND r.state + 0 = {delivering} RETURNING r.id, r.state"
        );
        let line = |op: &Self| op.line.as_deref().map(|line| storable(line).into_owned());
        put_back::<Self, String>(batch, sql, |op| (&op.claim, line(op)), settled).await
    }
}
