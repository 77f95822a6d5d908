//! How values are converted to columns of SQLite and back.

use bytes::Bytes;
use rusqlite::types::Type;
use serde::Serialize;

use super::statement::Row;
use crate::sql::codec::Unconverted;
pub(super) use crate::sql::codec::{
    CLAIM_BYTES, extras_from_text, extras_to_text, extras_with_trace, headers_from_bytes, headers_to_bytes,
    own_from_columns, own_to_columns, reason_from_text, reason_to_text, registration_from_text, registration_to_text,
};
use crate::sql::states::{ReportState, RequestState};
use postback_wire::id::ReportId;

impl From<Unconverted> for rusqlite::Error {
    fn from(Unconverted(error): Unconverted) -> Self {
        Self::FromSqlConversionFailure(0, Type::Null, error)
    }
}

/// Makes a statement that selects the first rows of the query `$rows`, whose columns are `due, seq, size`. The
/// statement selects at most `?3` rows. It also selects at most `?4` bytes, unless the first row alone has more. The
/// query `$rows` must compute the sizes itself: inside `$rows`, SQLite takes the length of a body from the start of the
/// row, but in the statement around `$rows`, SQLite would read the whole body. SQLite need not sort the rows, and reads
/// no row beyond the limits.
macro_rules! first_of {
    ($rows:literal) => {
        first_of!($rows, "1")
    };
    // The second argument is a condition. The first row may have more bytes than `?4` only if the condition `$alone` is
    // true.
    ($rows:literal, $alone:literal) => {
        concat!(
            "SELECT seq FROM (SELECT seq, size, sum(size) OVER (ORDER BY due, seq ROWS UNBOUNDED PRECEDING) AS total FROM (",
            $rows,
            ") ORDER BY due, seq LIMIT ?3) WHERE total <= ?4 OR total = size AND ",
            $alone
        )
    };
}
pub(super) use first_of;

/// Converts a list to a JSON text, which the function `json_each` of SQLite reads.
pub(super) fn json<T: Serialize + ?Sized>(value: &T) -> Result<String, rusqlite::Error> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

/// Reads a count from a column. A count is never negative, and always fits into a `u32`.
pub(super) fn small(row: &Row, column: usize) -> Result<u32, rusqlite::Error> {
    row.try_get::<i64>(column).map(|count| u32::try_from(count).unwrap_or(u32::MAX))
}

pub(super) fn blob(row: &Row, column: usize) -> Result<Bytes, rusqlite::Error> {
    row.try_get::<Vec<u8>>(column).map(Bytes::from)
}

/// Returns the `webhook-id` of a report: the id that is stored with the body of the report. If no id is stored there,
/// returns the id of the report itself.
pub(super) fn webhook_id(stored: Option<&[u8]>, own: ReportId) -> Result<ReportId, rusqlite::Error> {
    stored.map_or(Ok(own), report_id)
}

pub(super) fn report_id(bytes: &[u8]) -> Result<ReportId, rusqlite::Error> {
    ReportId::from_bytes(bytes).ok_or_else(|| misread("an id of a report has not 16 bytes"))
}

pub(super) fn request_state(row: &Row, column: usize) -> Result<RequestState, rusqlite::Error> {
    Ok(RequestState::of(row.try_get(column)?)?)
}

pub(super) fn report_state(row: &Row, column: usize) -> Result<ReportState, rusqlite::Error> {
    Ok(ReportState::of(row.try_get(column)?)?)
}

/// Makes the error for a row that no version of this program can have written. `what` is the text of the error.
pub(super) fn misread(what: &'static str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Null, what.into())
}
