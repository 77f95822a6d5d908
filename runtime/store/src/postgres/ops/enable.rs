//! Enables URLs, and makes the reports that are held for them due.

use super::Apply;
use crate::ops::{Enable, Enabled};
use crate::postgres::Batch;
use crate::postgres::codec::{limit, storable};
use crate::postgres::statement::{query, query_scalar};
use crate::sql::states::sql;

impl Apply for Enable {
    async fn apply(batch: &mut Batch<'_>) -> Result<(), sqlx::Error> {
        for (at, Self { url, limit: most, probe }) in batch.of::<Self>() {
            let sql = sql!(
                "UPDATE report SET state = {pending}, held = NULL, due = $2 WHERE seq IN \
                 (SELECT seq FROM report WHERE state = {held} AND held = (SELECT seq FROM disabled WHERE url = $1) \
                  ORDER BY seq LIMIT $3 FOR UPDATE SKIP LOCKED)"
            );
            let url = storable(url);
            let enable = query(sql).bind(&*url).bind(batch.now.due.micros()).bind(limit(*most));
            let reports = enable.execute(&mut *batch.conn).await?.rows_affected();
            let reports = usize::try_from(reports).unwrap_or(usize::MAX);
            let done = if *probe { false } else { enable_if_empty(batch, &url).await? };
            batch.answer::<Self>(at, Enabled { reports, done });
        }
        Ok(())
    }
}

/// Enables the URL if no report is held for the URL. Returns whether the URL is enabled now.
async fn enable_if_empty(batch: &mut Batch<'_>, url: &str) -> Result<bool, sqlx::Error> {
    let sql = sql!(
        "DELETE FROM disabled AS d WHERE url = $1 \
         AND NOT EXISTS (SELECT 1 FROM report WHERE state = {held} AND held = d.seq)"
    );
    query(sql).bind(url).execute(&mut *batch.conn).await?;
    let sql = "SELECT NOT EXISTS (SELECT 1 FROM disabled WHERE url = $1)";
    query_scalar(sql).bind(url).fetch_one(&mut *batch.conn).await
}
