//! Claims due reports.

use super::Apply;
use crate::ops::ClaimReports;
use crate::postgres::Batch;
use crate::postgres::codec::{CLAIM_BYTES, limit};
use crate::postgres::reports::{claim, claimed};
use crate::postgres::statement::{query, query_scalar};
use crate::record;
use crate::sql::states::sql;
use postback_wire::time::Timestamp;

impl Apply for ClaimReports {
    async fn apply(batch: &mut Batch<'_>) -> Result<(), sqlx::Error> {
        for (at, Self { limit: most }) in batch.of::<Self>() {
            let sql = claim!("r.state = {pending} AND r.due <= $2", "");
            let claim = query(sql).bind(batch.start.node).bind(batch.now.due.micros()).bind(limit(*most));
            let rows = claimed(claim.bind(CLAIM_BYTES).fetch_all(&mut *batch.conn).await?)?;
            let sql = sql!("SELECT due FROM report WHERE state = {pending} ORDER BY due, seq LIMIT 1");
            let next = query_scalar::<i64>(sql).fetch_optional(&mut *batch.conn).await?;
            batch.answer::<Self>(at, record::Batch { rows, next_due: next.map(Timestamp::from_micros) });
        }
        Ok(())
    }
}
