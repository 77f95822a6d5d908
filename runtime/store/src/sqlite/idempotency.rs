//! Which requests were accepted before: the ids and the idempotency keys that are taken, and by which request.

use rusqlite::Connection;

use super::statement::query;
use crate::record::{NewRequest, Submitted};
use crate::terms::Idempotency;
use postback_wire::id::RequestId;

/// Returns the answer to a request whose id or idempotency key was used before.
pub(super) fn accepted(conn: &Connection, request: &NewRequest) -> Result<Option<Submitted>, rusqlite::Error> {
    match known(conn, request)? {
        Some((_, answer)) => Ok(Some(answer)),
        None => by_key(conn, request),
    }
}

/// Returns the answer to a request that was not written, because its id or its key is taken. A request that is known by
/// its id takes its key, unless it has brought another key before: so the keys of a request are bounded. A key of
/// another request stays with that request.
pub(super) fn repeated(conn: &Connection, request: &NewRequest) -> Result<Option<Submitted>, rusqlite::Error> {
    let Some((seq, answer)) = known(conn, request)? else { return by_key(conn, request) };
    if let (Submitted::Known, Some(Idempotency { key, digest })) = (&answer, &request.idempotency) {
        let sql = "UPDATE OR IGNORE request SET key = ?1, digest = ?2 WHERE seq = ?3 AND key IS NULL";
        query(sql).bind(&**key).bind(&digest[..]).bind(seq).execute(conn)?;
    }
    Ok(Some(answer))
}

/// Returns the row number of the earlier request with this id, and the answer to the request.
fn known(conn: &Connection, request: &NewRequest) -> Result<Option<(i64, Submitted)>, rusqlite::Error> {
    let sql = "SELECT r.seq, r.route, r.owner, b.body FROM request AS r JOIN request_body AS b ON b.seq = r.seq \
               WHERE r.id = ?1";
    let Some(row) = query(sql).bind(request.id.as_str()).fetch_optional(conn)? else { return Ok(None) };
    let (route, owner, body): (&str, &str, &[u8]) = (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
    let same = request.route == route && *request.owner == *owner && request.body == body;
    Ok(Some((row.try_get(0)?, if same { Submitted::Known } else { Submitted::Conflict })))
}

/// Returns the answer to a request whose key an earlier request has.
fn by_key(conn: &Connection, request: &NewRequest) -> Result<Option<Submitted>, rusqlite::Error> {
    let Some(Idempotency { key, digest }) = &request.idempotency else { return Ok(None) };
    let sql = "SELECT id, digest FROM request WHERE owner = ?1 AND route = ?2 AND key = ?3";
    let row = query(sql).bind(&*request.owner).bind(&request.route).bind(&**key).fetch_optional(conn)?;
    let Some(row) = row else { return Ok(None) };
    let same = row.try_get::<&[u8]>(1)? == digest;
    Ok(Some(if same { Submitted::Repeated(RequestId::stored(row.try_get(0)?)) } else { Submitted::KeyReused }))
}
