//! Claims parked reports.

use super::Apply;
use crate::ops::ClaimParked;
use crate::record;
use crate::sqlite::Batch;
use crate::sqlite::codec::{CLAIM_BYTES, first_of};
use crate::sqlite::reports::claimed;
use crate::sqlite::statement::{query, query_scalar};
use crate::sqlite::states::sql;
use postback_wire::time::Timestamp;
use postback_wire::webhook::Target;

impl Apply for ClaimParked {
    fn apply(batch: &mut Batch<'_>) -> Result<(), rusqlite::Error> {
        for (at, Self { line, limit }) in batch.of::<Self>() {
            // The column `origin` of a parked report contains the origin or URL under which the report is parked. The
            // claim writes the report's own origin into the column again.
            let sql = sql!(
                "UPDATE report SET state = {delivering}, epoch = epoch + 1, attempt = attempt + 1, node = ?1, \
                 origin = ?6 WHERE seq IN (",
                first_of!(
                    "SELECT r.due, r.seq, length(b.body) AS size FROM report AS r CROSS JOIN report_body AS b \
                     WHERE b.seq = r.seq AND r.state = {parked} AND r.origin = ?5 AND r.due <= ?2"
                ),
                ") RETURNING due, seq, id, subject, epoch, attempt, created"
            );
            let limit = i64::try_from(*limit).unwrap_or(i64::MAX);
            let claim = query(sql).bind(batch.start.node).bind(batch.now.due.micros()).bind(limit).bind(CLAIM_BYTES);
            let rows = claim.bind(line).bind(Target::parse(line).origin()).fetch_all(batch.conn)?;
            let rows = claimed(batch, rows)?;
            let sql = sql!("SELECT due FROM report WHERE state = {parked} AND origin = ?1 ORDER BY due, seq LIMIT 1");
            let next = query_scalar(sql).bind(line).fetch_optional(batch.conn)?;
            batch.answer::<Self>(at, record::Batch { rows, next_due: next.map(Timestamp::from_micros) });
        }
        Ok(())
    }
}
