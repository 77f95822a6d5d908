//! Which requests were accepted before: the ids and the idempotency keys that are taken, and by which request.

use rusqlite::Connection;
use rusqlite::functions::FunctionFlags;

use super::codec::headers_from_bytes;
use super::keys;
use super::statement::{Row, query};
use crate::identity::query_of;
use crate::record::{NewRequest, Submitted};
use crate::terms::IdempotencyKey;
use postback_wire::id::RequestId;

/// Returns the answer to a request whose id or idempotency key was used before.
/// `fresh` is the row number of the request that may have its key, according to the keys in memory.
pub(super) fn accepted(
    conn: &Connection,
    request: &NewRequest,
    fresh: Option<i64>,
) -> Result<Option<Submitted>, rusqlite::Error> {
    match known(conn, request)? {
        Some((_, answer)) => Ok(Some(answer)),
        None => by_key(conn, request, fresh),
    }
}

/// Returns the answer to a request whose id or key may be taken. A request that is known by
/// its id takes its key, unless it has brought another key before: so the keys of a request are bounded. A key of
/// another request stays with that request.
pub(super) fn repeated(
    conn: &Connection,
    request: &NewRequest,
    fresh: Option<i64>,
) -> Result<Option<Submitted>, rusqlite::Error> {
    let Some((seq, answer)) = known(conn, request)? else { return by_key(conn, request, fresh) };
    if let (Submitted::Known, Some(key)) = (&answer, &request.idempotency)
        && by_key(conn, request, fresh)?.is_none()
    {
        keys::give(conn, key, seq)?;
    }
    Ok(Some(answer))
}

/// Returns the row number of the earlier request with this id, and the answer to the request.
fn known(conn: &Connection, request: &NewRequest) -> Result<Option<(i64, Submitted)>, rusqlite::Error> {
    let sql = "SELECT r.seq, r.route, r.owner, CASE length(b.body) WHEN ?2 THEN b.body END, b.headers \
               FROM request AS r JOIN request_body AS b ON b.seq = r.seq WHERE r.id = ?1";
    let row = query(sql).bind(request.id.as_str()).bind(length(request)).fetch_optional(conn)?;
    let Some(row) = row else { return Ok(None) };
    let (route, owner): (&str, &str) = (row.try_get(1)?, row.try_get(2)?);
    let same = request.route == route && *request.owner == *owner && is_same(&row, 3, request)?;
    Ok(Some((row.try_get(0)?, if same { Submitted::Known } else { Submitted::Conflict })))
}

/// Returns the answer to a request whose key an earlier request has.
fn by_key(conn: &Connection, request: &NewRequest, fresh: Option<i64>) -> Result<Option<Submitted>, rusqlite::Error> {
    let Some(key) = request.idempotency else { return Ok(None) };
    let sql = "SELECT r.id, CASE length(b.body) WHEN ?2 THEN b.body END, b.headers \
               FROM request AS r JOIN request_body AS b ON b.seq = r.seq \
               WHERE r.seq IN (?3, (SELECT seq FROM request_key WHERE key = ?1)) AND r.idempotency = ?1";
    let found = query(sql).bind(key.as_bytes()).bind(length(request)).bind(fresh);
    let Some(row) = found.fetch_optional(conn)? else { return Ok(None) };
    let same = is_same(&row, 1, request)?;
    Ok(Some(if same { Submitted::Repeated(RequestId::stored(row.try_get(0)?)) } else { Submitted::KeyReused }))
}

/// The length of a request's body. Only a stored body of the same length is read: otherwise a small request could make the
/// store read a large one.
fn length(request: &NewRequest) -> i64 {
    i64::try_from(request.body.len()).unwrap_or(i64::MAX)
}

/// Whether the column has the body of this request, and the next one headers with its query. The body is NULL if the
/// stored one has another length.
fn is_same(row: &Row, column: usize, request: &NewRequest) -> Result<bool, rusqlite::Error> {
    let is_body = row.try_get::<Option<&[u8]>>(column)?.is_some_and(|body| request.body == body);
    Ok(is_body && query_of(&headers_from_bytes(row.try_get(column + 1)?)) == request.query())
}

/// The function with which the statements of the schema make the keys of earlier versions anew, as they are made now.
pub(super) fn define_key(conn: &Connection) -> Result<(), rusqlite::Error> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_DIRECTONLY;
    conn.create_scalar_function("postback_key", 3, flags, |arguments| {
        let text =
            |at| arguments.get_raw(at).as_str().map_err(|error| rusqlite::Error::UserFunctionError(error.into()));
        Ok(IdempotencyKey::new(text(0)?, text(1)?, text(2)?).as_bytes().to_vec())
    })
}
