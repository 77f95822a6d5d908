//! Claims parked reports.

use super::Apply;
use crate::ops::ClaimParked;
use crate::postgres::Batch;
use crate::postgres::codec::{CLAIM_BYTES, limit, storable};
use crate::postgres::reports::{claim, claimed};
use crate::postgres::statement::{query, query_scalar};
use crate::record;
use crate::sql::states::sql;
use postback_wire::time::Timestamp;
use postback_wire::webhook::Target;

impl Apply for ClaimParked {
    async fn apply(batch: &mut Batch<'_>) -> Result<(), sqlx::Error> {
        for (at, Self { line, limit: most }) in batch.of::<Self>() {
            // The column `origin` of a parked report contains the origin or URL under which the report is parked. The
            // claim writes the report's own origin into the column again.
            let sql = claim!("r.state = {parked} AND r.origin = $5 AND r.due <= $2", ", origin = $6");
            let (line, origin) = (storable(line), storable(Target::parse(line).origin()).into_owned());
            let claim = query(sql).bind(batch.start.node).bind(batch.now.due.micros()).bind(limit(*most));
            let rows = claim.bind(CLAIM_BYTES).bind(&*line).bind(origin).fetch_all(&mut *batch.conn).await?;
            let rows = claimed(rows)?;
            let sql = sql!("SELECT due FROM report WHERE state = {parked} AND origin = $1 ORDER BY due, seq LIMIT 1");
            let next = query_scalar::<i64>(sql).bind(&*line).fetch_optional(&mut *batch.conn).await?;
            batch.answer::<Self>(at, record::Batch { rows, next_due: next.map(Timestamp::from_micros) });
        }
        Ok(())
    }
}
