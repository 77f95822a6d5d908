//! The row numbers of the requests and reports that this process has claimed. With these numbers a settlement finds its
//! row by the row number, not by the id.
//!
//! Invariant: a known row number is committed. If a row number is unknown, the row is looked up by its id.

use std::collections::HashMap;
use std::hash::Hash;

use rusqlite::Connection;

use super::statement::query_scalar;
use postback_wire::id::{ReportId, RequestId};

/// A number that is not the row number of any row.
const NOWHERE: i64 = 0;

/// The row numbers of claimed rows, by their ids.
pub(super) struct RowIds<K> {
    /// The row numbers of rows whose claims are committed. The map stays small, because the worker and the delivery
    /// limit the number of claims.
    known: HashMap<K, i64>,
    /// The row numbers of the rows that the current batch claims. The current batch is not committed yet.
    new: Vec<(K, i64)>,
}

impl<K> Default for RowIds<K> {
    fn default() -> Self {
        Self { known: HashMap::new(), new: Vec::new() }
    }
}

impl<K: Eq + Hash> RowIds<K> {
    /// Records that the current batch claims the row with the number `row`.
    pub(super) fn claimed(&mut self, id: K, row: i64) {
        self.new.push((id, row));
    }

    /// Removes a row number, because the claim of the row ends.
    pub(super) fn over(&mut self, id: &K) {
        self.known.remove(id);
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

impl RowIds<RequestId> {
    /// Removes and returns the row number of a request whose claim ends.
    pub(super) fn take(&mut self, conn: &Connection, id: &RequestId) -> Result<i64, rusqlite::Error> {
        if let Some(row) = self.known.remove(id) {
            return Ok(row);
        }
        let found = query_scalar("SELECT seq FROM request WHERE id = ?1").bind(id.as_str()).fetch_optional(conn)?;
        Ok(found.unwrap_or(NOWHERE))
    }
}

impl RowIds<ReportId> {
    /// Removes and returns the row number of a report whose claim ends.
    pub(super) fn take(&mut self, conn: &Connection, id: &ReportId) -> Result<i64, rusqlite::Error> {
        if let Some(row) = self.known.remove(id) {
            return Ok(row);
        }
        let found = query_scalar("SELECT seq FROM report WHERE id = ?1").bind(&id.as_bytes()[..]);
        Ok(found.fetch_optional(conn)?.unwrap_or(NOWHERE))
    }
}
