//! Which requests were accepted before: the ids and the idempotency keys that are taken, and by which request.

use std::collections::HashMap;

use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnection, SqlitePool};

use super::codec::{hex, json};
use super::statement::query;
use crate::record::{NewRequest, Submitted};
use crate::terms::Idempotency;
use postback_wire::id::RequestId;

/// The place of a key: the owner, the route and the key itself.
type Place<'a> = (&'a str, &'a str, &'a str);

/// The request that has taken a key, with its digest.
struct Holder {
    id: RequestId,
    digest: Vec<u8>,
}

/// The keys that the requests of one batch use, with their holders. A holder is an earlier request, or the first
/// request of the batch that has the key.
#[derive(Default)]
pub(super) struct Keys<'a>(HashMap<Place<'a>, Holder>);

impl<'a> Keys<'a> {
    /// Reads the keys of these requests that are taken.
    pub(super) async fn read(
        conn: &mut SqliteConnection,
        requests: impl Iterator<Item = &'a NewRequest>,
    ) -> Result<Self, sqlx::Error> {
        let wanted: HashMap<String, Place<'a>> = requests.filter_map(place).enumerate().map(numbered).collect();
        if wanted.is_empty() {
            return Ok(Self::default());
        }
        let sql = "SELECT j.key, r.id, i.digest FROM json_each(?1) AS j CROSS JOIN idempotency AS i \
                   JOIN request AS r ON r.seq = i.request \
                   WHERE i.owner = j.value ->> 0 AND i.route = j.value ->> 1 AND i.key = j.value ->> 2";
        let mut taken = HashMap::new();
        for row in query(sql).bind(json(&wanted)?).fetch_all(conn).await? {
            if let Some(place) = wanted.get(row.try_get::<&str, _>(0)?) {
                let id = RequestId::stored(row.try_get(1)?);
                taken.insert(*place, Holder { id, digest: row.try_get(2)? });
            }
        }
        Ok(Self(taken))
    }

    /// Takes the key of this request. If the key is taken already, returns the answer to the request.
    pub(super) fn take(&mut self, request: &'a NewRequest) -> Option<Submitted> {
        let (place, Idempotency { digest, .. }) = (place(request)?, request.idempotency.as_ref()?);
        if let Some(holder) = self.0.get(&place) {
            let same = holder.digest == digest;
            return Some(if same { Submitted::Repeated(holder.id.clone()) } else { Submitted::KeyReused });
        }
        self.0.insert(place, Holder { id: request.id.clone(), digest: digest.to_vec() });
        None
    }
}

/// The answer to a request whose id was accepted before, and the row number of the earlier request.
pub(super) struct Known {
    pub(super) seq: i64,
    pub(super) answer: Submitted,
}

/// Returns the answers to the requests whose ids were accepted before. Call this before the bodies of new requests are
/// written.
pub(super) async fn known<'a>(
    conn: &mut SqliteConnection,
    requests: impl Iterator<Item = &'a NewRequest>,
) -> Result<HashMap<&'a str, Known>, sqlx::Error> {
    let by_id: HashMap<&str, &NewRequest> = requests.map(|request| (request.id.as_str(), request)).collect();
    if by_id.is_empty() {
        return Ok(HashMap::new());
    }
    let ids: Vec<&str> = by_id.keys().copied().collect();
    let sql = "SELECT r.id, r.route, b.body, r.owner, r.seq FROM request r JOIN request_body b ON b.seq = r.seq \
               WHERE r.id IN (SELECT value FROM json_each(?1))";
    let mut known = HashMap::new();
    for row in query(sql).bind(json(&ids)?).fetch_all(conn).await? {
        let Some((id, request)) = by_id.get_key_value(row.try_get::<&str, _>(0)?) else { continue };
        let (route, body, owner): (&str, &[u8], &str) = (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
        let same = request.route == route && *request.owner == *owner && request.body == body;
        let answer = if same { Submitted::Known } else { Submitted::Conflict };
        known.insert(*id, Known { seq: row.try_get(4)?, answer });
    }
    Ok(known)
}

/// Returns the answer to a request whose id or idempotency key was used before.
pub(super) async fn accepted(pool: &SqlitePool, request: &NewRequest) -> Result<Option<Submitted>, sqlx::Error> {
    let mut conn = pool.acquire().await?;
    if let Some(known) = known(&mut conn, std::iter::once(request)).await?.remove(request.id.as_str()) {
        return Ok(Some(known.answer));
    }
    Ok(Keys::read(&mut conn, std::iter::once(request)).await?.take(request))
}

/// Writes the keys of requests. Each pair is the row number of a request, and the request. A request has one key: if an
/// earlier call has brought another one, the new key is not written, so that the keys of a request are bounded.
pub(super) async fn write(
    conn: &mut SqliteConnection,
    new: impl Iterator<Item = (i64, &NewRequest)>,
) -> Result<(), sqlx::Error> {
    let rows = new.filter_map(|(seq, request)| {
        let (owner, route, key) = place(request)?;
        Some((owner, route, key, seq, hex(&request.idempotency.as_ref()?.digest)))
    });
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return Ok(());
    }
    let sql = "INSERT INTO idempotency (owner, route, key, request, digest) \
               SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, unhex(value ->> 4) FROM json_each(?1) AS j \
               WHERE NOT EXISTS (SELECT 1 FROM idempotency AS i WHERE i.request = j.value ->> 3)";
    query(sql).bind(json(&rows)?).execute(conn).await.map(drop)
}

fn place(request: &NewRequest) -> Option<Place<'_>> {
    let Idempotency { key, .. } = request.idempotency.as_ref()?;
    Some((&request.owner, &request.route, key))
}

fn numbered((at, place): (usize, Place<'_>)) -> (String, Place<'_>) {
    (at.to_string(), place)
}
