//! How values are converted to columns of PostgreSQL and back.

use std::borrow::Cow;

use bytes::Bytes;
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::sql::codec::Unconverted;
pub(super) use crate::sql::codec::{
    CLAIM_BYTES, extras_from_text, extras_to_text, extras_with_trace, headers_from_bytes, headers_to_bytes, misread,
    own_from_columns, own_to_columns, reason_from_text, reason_to_text, registration_from_text, registration_to_text,
};
use crate::sql::states::{ReportState, RequestState};
use postback_wire::id::ReportId;

impl From<Unconverted> for sqlx::Error {
    fn from(Unconverted(error): Unconverted) -> Self {
        Self::Decode(error)
    }
}

/// Returns the text without NUL characters, which PostgreSQL cannot store: each of them becomes U+FFFD.
pub(super) fn storable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}

pub(super) fn uuid(id: ReportId) -> Uuid {
    Uuid::from_bytes(*id.as_bytes())
}

pub(super) fn report_id(row: &PgRow, column: usize) -> Result<ReportId, sqlx::Error> {
    to_report_id(row.try_get(column)?)
}

/// Reads the `webhook-id` of a report: the id that is stored with the body of the report. If no id is stored there,
/// returns the id of the report itself.
pub(super) fn webhook_id(row: &PgRow, column: usize, own: ReportId) -> Result<ReportId, sqlx::Error> {
    row.try_get::<Option<Uuid>, _>(column)?.map_or(Ok(own), to_report_id)
}

fn to_report_id(id: Uuid) -> Result<ReportId, sqlx::Error> {
    Ok(ReportId::from_bytes(id.as_bytes()).ok_or_else(|| misread("an id of a report has not 16 bytes"))?)
}

pub(super) fn request_state(row: &PgRow, column: usize) -> Result<RequestState, sqlx::Error> {
    Ok(RequestState::of(row.try_get::<i16, _>(column)?.into())?)
}

pub(super) fn report_state(row: &PgRow, column: usize) -> Result<ReportState, sqlx::Error> {
    Ok(ReportState::of(row.try_get::<i16, _>(column)?.into())?)
}

/// Reads a count from a column. A count is never negative, and always fits into a `u32`.
pub(super) fn small(row: &PgRow, column: usize) -> Result<u32, sqlx::Error> {
    row.try_get::<i64, _>(column).map(|count| u32::try_from(count).unwrap_or(u32::MAX))
}

pub(super) fn blob(row: &PgRow, column: usize) -> Result<Bytes, sqlx::Error> {
    row.try_get::<Vec<u8>, _>(column).map(Bytes::from)
}

/// Reads a number of rows or of bytes.
pub(super) fn count(row: &PgRow, column: usize) -> Result<u64, sqlx::Error> {
    row.try_get::<i64, _>(column).map(|count| u64::try_from(count).unwrap_or(0))
}

/// Converts a limit to a number that PostgreSQL accepts.
pub(super) fn limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_no_nul() {
        assert_eq!(storable("a\0b\0"), "a\u{fffd}b\u{fffd}");
        assert!(matches!(storable("plain"), Cow::Borrowed("plain")));
    }
}
