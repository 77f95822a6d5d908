//! Where the reports are that this process has claimed: so what is settled is found by its row's number, not by its id.
//!
//! Invariant: what is known here is committed. What is not known is looked up.

use std::collections::HashMap;

use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

use super::codec::{hex, json, report_id};
use super::statement::query;
use crate::id::ReportId;
use crate::store::record::ReportClaim;

/// The number of no row.
const NOWHERE: i64 = 0;

/// See the module.
#[derive(Default)]
pub(super) struct RowIds {
    /// Bounded by the claims, of which the delivery has so many.
    known: HashMap<ReportId, i64>,
    /// Of the batch that is being applied.
    new: Vec<(ReportId, i64)>,
}

impl RowIds {
    /// The batch claims the report in this row.
    pub(super) fn claimed(&mut self, id: ReportId, row: i64) {
        self.new.push((id, row));
    }

    /// The claim comes to its end.
    pub(super) fn over(&mut self, id: ReportId) {
        self.known.remove(&id);
    }

    /// The rows of claims that come to their end, in their order.
    pub(super) async fn take(
        &mut self,
        conn: &mut SqliteConnection,
        claims: impl Iterator<Item = &ReportClaim>,
    ) -> Result<Vec<i64>, sqlx::Error> {
        let mut unknown = HashMap::new();
        let mut rows = Vec::new();
        for (at, claim) in claims.enumerate() {
            rows.push(self.known.remove(&claim.id).unwrap_or_else(|| {
                unknown.insert(claim.id, at);
                NOWHERE
            }));
        }
        if !unknown.is_empty() {
            let ids = json(&unknown.keys().map(|id| hex(id.as_bytes())).collect::<Vec<_>>())?;
            let sql = "SELECT id, seq FROM report WHERE id IN (SELECT unhex(value) FROM json_each(?1))";
            for row in query(sql).bind(ids).fetch_all(conn).await? {
                if let Some(place) = unknown.get(&report_id(row.try_get(0)?)?).and_then(|at| rows.get_mut(*at)) {
                    *place = row.try_get(1)?;
                }
            }
        }
        Ok(rows)
    }

    /// What the batch did is committed.
    pub(super) fn committed(&mut self) {
        self.known.extend(self.new.drain(..));
    }

    /// It is not, or nobody knows.
    pub(super) fn failed(&mut self) {
        self.new.clear();
    }
}
