//! Requests that are marked as cancelled.

use super::Batch;
use super::codec::small;
use super::statement::query;
use crate::store::operation::{Op, Reply};
use crate::store::record::RequestClaim;

pub(super) async fn mark(batch: &mut Batch<'_>) -> Result<(), sqlx::Error> {
    for (at, op) in batch.ops.iter().enumerate() {
        let Op::CancelRunning { id } = op else { continue };
        let sql = "UPDATE request SET cancel = 1 WHERE id = ?1 AND state = 1 RETURNING epoch";
        let row = query(sql).bind(id.as_str()).fetch_optional(&mut *batch.conn).await?;
        let claim = match row {
            Some(row) => Some(RequestClaim { id: id.clone(), epoch: small(&row, 0)? }),
            None => None,
        };
        batch.reply(at, Reply::Cancelling(claim));
    }
    Ok(())
}
