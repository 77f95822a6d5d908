//! The row numbers of the reports that this process has claimed. With these numbers a settlement finds its report by
//! the row number, not by the id.
//!
//! Invariant: a known row number is committed. If a report's row number is unknown, the report is looked up by its id.

use std::collections::HashMap;

use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

use super::codec::{hex, json, report_id};
use super::statement::query;
use crate::record::ReportClaim;
use postback_wire::id::ReportId;

/// A number that is not the row number of any row.
const NOWHERE: i64 = 0;

/// The row numbers of claimed reports, by the ids of the reports.
#[derive(Default)]
pub(super) struct RowIds {
    /// The row numbers of reports whose claims are committed. The map stays small, because the delivery limits the
    /// number of claims.
    known: HashMap<ReportId, i64>,
    /// The row numbers of the reports that the current batch claims. The current batch is not committed yet.
    new: Vec<(ReportId, i64)>,
}

impl RowIds {
    /// Records that the current batch claims this report, which is in the row with the number `row`.
    pub(super) fn claimed(&mut self, id: ReportId, row: i64) {
        self.new.push((id, row));
    }

    /// Removes the row number of a report, because the claim of the report ends.
    pub(super) fn over(&mut self, id: ReportId) {
        self.known.remove(&id);
    }

    /// Removes and returns the row numbers of reports whose claims end, in the order of the claims.
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

    /// Adds the row numbers of the current batch to the map, because the batch is committed.
    pub(super) fn committed(&mut self) {
        self.known.extend(self.new.drain(..));
    }

    /// Removes the row numbers of the current batch, because the batch was not committed or because its outcome is
    /// unknown.
    pub(super) fn failed(&mut self) {
        self.new.clear();
    }
}
