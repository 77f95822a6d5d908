//! Claims due reports.

use super::Apply;
use crate::ops::ClaimReports;
use crate::record;
use crate::sqlite::Batch;
use crate::sqlite::codec::{CLAIM_BYTES, first_of};
use crate::sqlite::reports::claimed;
use crate::sqlite::statement::{query, query_scalar};
use crate::sqlite::states::sql;
use postback_wire::time::Timestamp;

impl Apply for ClaimReports {
    fn apply(batch: &mut Batch<'_>) -> Result<(), rusqlite::Error> {
        for (at, Self { limit }) in batch.of::<Self>() {
            let sql = sql!(
                "UPDATE report SET state = {delivering}, epoch = epoch + 1, attempt = attempt + 1, node = ?1 \
                 WHERE seq IN (",
                first_of!(
                    "SELECT r.due, r.seq, length(b.body) AS size FROM report AS r CROSS JOIN report_body AS b \
                     WHERE b.seq = r.seq AND r.state = {pending} AND r.due <= ?2"
                ),
                ") RETURNING due, seq, id, subject, epoch, attempt, created"
            );
            let limit = i64::try_from(*limit).unwrap_or(i64::MAX);
            let claim = query(sql).bind(batch.start.node).bind(batch.now.due.micros()).bind(limit).bind(CLAIM_BYTES);
            let rows = claim.fetch_all(batch.conn)?;
            let rows = claimed(batch, rows)?;
            let sql = sql!("SELECT due FROM report WHERE state = {pending} ORDER BY due, seq LIMIT 1");
            let next = query_scalar(sql).fetch_optional(batch.conn)?;
            batch.answer::<Self>(at, record::Batch { rows, next_due: next.map(Timestamp::from_micros) });
        }
        Ok(())
    }
}
