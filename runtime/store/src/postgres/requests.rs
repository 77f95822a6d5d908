//! What several kinds of operations do with the tables of requests.

use std::sync::Arc;
use std::time::Duration;

use sqlx::Row as _;
use sqlx::postgres::PgRow;

use super::codec::{blob, extras_with_trace, headers_from_bytes, registration_from_text, small};
use crate::record::{ClaimedRequest, RequestClaim};
use crate::terms::Terms;
use postback_wire::id::RequestId;
use postback_wire::time::Timestamp;

/// The columns that a statement returns of each request that it claims, for [`claimed`]. The statement calls the tables
/// `r` (request), `b` (its body) and `g` (its registration). `$expired` says whether the request has expired.
macro_rules! CLAIMED {
    ($expired:literal) => {
        concat!(
            "r.due, r.seq, r.id, r.route, r.epoch, r.failures, r.crashes, r.created, r.cancel, r.owner, r.priority, \
             r.timeout, r.extras, ",
            $expired,
            ", (octet_length(b.headers) + octet_length(b.body))::bigint, b.headers, b.body, g.text"
        )
    };
}
pub(super) use CLAIMED;

/// The indices of some columns of a claimed row: `crashes`, `owner`, and the number of bytes.
pub(super) const CRASHES: usize = 6;
pub(super) const OWNER: usize = 9;
pub(super) const SIZE: usize = 14;

/// Reads claimed rows with the columns of [`CLAIMED!`]. Returns the requests in the order in which they should run.
pub(super) fn claimed(mut rows: Vec<PgRow>) -> Result<Vec<ClaimedRequest>, sqlx::Error> {
    // The rows are sorted here, because `RETURNING` returns them in no particular order.
    let number = |row: &PgRow, column: usize| row.try_get::<i64, _>(column).unwrap_or(0);
    rows.sort_by_key(|row| (-row.try_get::<i16, _>(10).unwrap_or(0), number(row, 0), number(row, 1)));
    let one = |row: &PgRow| {
        let registration: Option<&str> = row.try_get(17)?;
        let timeout = row.try_get::<Option<i64>, _>(11)?.and_then(|micros| u64::try_from(micros).ok());
        let terms =
            Terms { priority: priority(row, 10)?, timeout: timeout.map(Duration::from_micros), ..Terms::default() };
        let headers = headers_from_bytes(row.try_get(15)?);
        Ok(ClaimedRequest {
            expired: row.try_get(13)?,
            claim: RequestClaim { id: RequestId::stored(row.try_get(2)?), epoch: small(row, 4)? },
            route: row.try_get(3)?,
            body: blob(row, 16)?,
            created: Timestamp::from_micros(row.try_get(7)?),
            failures: small(row, 5)?,
            crashes: small(row, CRASHES)?,
            cancelled: row.try_get(8)?,
            registration: registration.and_then(registration_from_text).map(Arc::new),
            owner: row.try_get::<&str, _>(OWNER)?.into(),
            terms,
            extras: extras_with_trace(row.try_get(12)?, &headers),
            headers,
        })
    };
    rows.iter().map(one).collect()
}

/// Reads the priority of a request.
pub(super) fn priority(row: &PgRow, column: usize) -> Result<i8, sqlx::Error> {
    let priority: i16 = row.try_get(column)?;
    Ok(i8::try_from(priority).unwrap_or(if priority < 0 { i8::MIN } else { i8::MAX }))
}
