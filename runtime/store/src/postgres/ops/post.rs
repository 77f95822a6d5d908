//! Adds posted reports to the reports that the batch writes.

use super::Apply;
use crate::ops::{Post, Posted};
use crate::postgres::codec::uuid;
use crate::postgres::{Batch, handed_in};

impl Apply for Post {
    async fn apply(batch: &mut Batch<'_>) -> Result<(), sqlx::Error> {
        let taken =
            handed_in::take(batch.conn, batch.of::<Self>().filter_map(|(_, op)| op.hand_in()).collect()).await?;
        let first = |op: &Self| op.reports.first().map(|first| uuid(first.report.id));
        let handed_in = batch.of::<Self>().filter(|(_, op)| op.is_handed_in).filter_map(|(_, op)| first(op)).collect();
        let known = handed_in::known_reports(batch.conn, handed_in).await?;
        for (at, op) in batch.of::<Self>() {
            let is_known = op.is_handed_in && first(op).is_some_and(|id| known.contains(&id));
            if is_known || op.hand_in().is_some_and(|id| !taken.contains(&id)) {
                batch.answer::<Self>(at, Posted::Before);
                continue;
            }
            batch.outgoing.extend(op.reports.iter().map(|outgoing| (at, outgoing)));
            batch.answer::<Self>(at, Posted::Written);
        }
        Ok(())
    }
}
