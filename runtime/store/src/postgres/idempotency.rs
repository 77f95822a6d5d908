//! Which requests were accepted before: the ids and the idempotency keys that are taken, and by which request. A key is
//! a column of its request, so it lives as long as the request.

use std::collections::HashMap;

use sqlx::Row as _;
use sqlx::postgres::{PgConnection, PgPool};

use super::codec::misread;
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
        conn: &mut PgConnection,
        requests: impl Iterator<Item = &'a NewRequest>,
    ) -> Result<Self, sqlx::Error> {
        let wanted: Vec<Place<'a>> = requests.filter_map(place).collect();
        if wanted.is_empty() {
            return Ok(Self::default());
        }
        let sql = "SELECT i.n, r.id, r.digest FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY \
                   AS i (owner, route, key, n) JOIN request AS r \
                   ON r.owner = i.owner AND r.route = i.route AND r.key = i.key AND r.key IS NOT NULL";
        let columns = [|place: &Place<'a>| place.0, |place: &Place<'a>| place.1, |place: &Place<'a>| place.2];
        let [owners, routes, keys] = columns.map(|column| wanted.iter().map(column).collect::<Vec<&str>>());
        let mut taken = HashMap::new();
        for row in query(sql).bind(owners).bind(routes).bind(keys).fetch_all(conn).await? {
            let n = usize::try_from(row.try_get::<i64, _>(0)?).unwrap_or(0);
            let place = n.checked_sub(1).and_then(|n| wanted.get(n)).ok_or_else(|| misread("a key has no place"))?;
            taken.insert(*place, Holder { id: RequestId::stored(row.try_get(1)?), digest: row.try_get(2)? });
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

/// Returns the answers to the requests whose ids were accepted before.
pub(super) async fn known<'a>(
    conn: &mut PgConnection,
    requests: impl Iterator<Item = &'a NewRequest>,
) -> Result<HashMap<&'a str, Known>, sqlx::Error> {
    let by_id: HashMap<&str, &NewRequest> = requests.map(|request| (request.id.as_str(), request)).collect();
    if by_id.is_empty() {
        return Ok(HashMap::new());
    }
    let ids: Vec<&str> = by_id.keys().copied().collect();
    let sql = "SELECT r.id, r.route, b.body, r.owner, r.seq FROM request AS r JOIN request_body AS b ON b.seq = r.seq \
               WHERE r.id = ANY($1)";
    let mut known = HashMap::new();
    for row in query(sql).bind(ids).fetch_all(conn).await? {
        let Some((id, request)) = by_id.get_key_value(row.try_get::<&str, _>(0)?) else { continue };
        let (route, body, owner): (&str, &[u8], &str) = (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
        let same = request.route == route && *request.owner == *owner && request.body == body;
        let answer = if same { Submitted::Known } else { Submitted::Conflict };
        known.insert(*id, Known { seq: row.try_get(4)?, answer });
    }
    Ok(known)
}

/// Returns the answer to a request whose id or idempotency key was used before.
pub(super) async fn accepted(pool: &PgPool, request: &NewRequest) -> Result<Option<Submitted>, sqlx::Error> {
    let mut conn = pool.acquire().await?;
    if let Some(known) = known(&mut conn, std::iter::once(request)).await?.remove(request.id.as_str()) {
        return Ok(Some(known.answer));
    }
    Ok(Keys::read(&mut conn, std::iter::once(request)).await?.take(request))
}

/// Writes the keys of requests that were accepted before without a key. Each pair is the row number of a request, and
/// the request. A request has one key: if an earlier call has brought another one, the new key is not written, so that
/// the keys of a request are bounded.
pub(super) async fn write(
    conn: &mut PgConnection,
    named: impl Iterator<Item = (i64, &NewRequest)>,
) -> Result<(), sqlx::Error> {
    let (mut seqs, mut keys, mut digests) = (Vec::new(), Vec::new(), Vec::new());
    for (seq, request) in named {
        if let Some(Idempotency { key, digest }) = &request.idempotency {
            seqs.push(seq);
            keys.push(&**key);
            digests.push(digest.as_slice());
        }
    }
    if seqs.is_empty() {
        return Ok(());
    }
    let sql = "UPDATE request AS r SET key = i.key, digest = i.digest \
               FROM unnest($1::bigint[], $2::text[], $3::bytea[]) AS i (seq, key, digest) \
               WHERE r.seq = i.seq AND r.key IS NULL";
    query(sql).bind(seqs).bind(keys).bind(digests).execute(conn).await.map(drop)
}

fn place(request: &NewRequest) -> Option<Place<'_>> {
    let Idempotency { key, .. } = request.idempotency.as_ref()?;
    Some((&request.owner, &request.route, key))
}
