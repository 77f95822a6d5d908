//! Which requests were accepted before: the ids and the idempotency keys that are taken, and by which request. A key is
//! a column of its request, so it lives as long as the request.

use std::collections::HashMap;

use bytes::Bytes;
use sqlx::Row as _;
use sqlx::postgres::{PgConnection, PgPool};

use super::codec::{headers_from_bytes, misread};
use super::statement::query;
use crate::identity::query_of;
use crate::record::{NewRequest, Submitted};
use crate::terms::IdempotencyKey;
use postback_wire::id::RequestId;

/// The request that has taken a key.
struct Holder {
    id: RequestId,
    /// The body and the query. `None`: no request of the batch with this key has a body of the same length.
    content: Option<(Bytes, Vec<u8>)>,
}

/// The keys that the requests of one batch use, with their holders. A holder is an earlier request, or the first
/// request of the batch that has the key.
#[derive(Default)]
pub(super) struct Keys(HashMap<IdempotencyKey, Holder>);

impl Keys {
    /// Reads the keys of these requests that are taken.
    pub(super) async fn read<'a>(
        conn: &mut PgConnection,
        requests: impl Iterator<Item = &'a NewRequest>,
    ) -> Result<Self, sqlx::Error> {
        let keyed = requests.filter_map(|request| Some((request.idempotency?, length(request))));
        let (wanted, lengths): (Vec<IdempotencyKey>, Vec<i64>) = keyed.unzip();
        if wanted.is_empty() {
            return Ok(Self::default());
        }
        let sql = "SELECT i.n, r.id, CASE octet_length(b.body) WHEN i.length THEN b.body END, b.headers \
                   FROM unnest($1::bytea[], $2::bigint[]) WITH ORDINALITY AS i (key, length, n) \
                   JOIN request AS r ON r.idempotency = i.key AND r.idempotency IS NOT NULL \
                   JOIN request_body AS b ON b.seq = r.seq";
        let keys: Vec<&[u8]> = wanted.iter().map(IdempotencyKey::as_bytes).collect();
        let mut taken = HashMap::new();
        for row in query(sql).bind(keys).bind(lengths).fetch_all(conn).await? {
            let n = usize::try_from(row.try_get::<i64, _>(0)?).unwrap_or(0);
            let key = n.checked_sub(1).and_then(|n| wanted.get(n)).ok_or_else(|| misread("a key is missing"))?;
            let id = RequestId::stored(row.try_get(1)?);
            let holder = taken.entry(*key).or_insert(Holder { id, content: None });
            if let Some(body) = row.try_get::<Option<Vec<u8>>, _>(2)? {
                let query = query_of(&headers_from_bytes(row.try_get(3)?)).to_vec();
                holder.content = Some((body.into(), query));
            }
        }
        Ok(Self(taken))
    }

    /// Takes the key of this request. If the key is taken already, returns the answer to the request.
    pub(super) fn take(&mut self, request: &NewRequest) -> Option<Submitted> {
        let key = request.idempotency?;
        if let Some(holder) = self.0.get(&key) {
            let content = holder.content.as_ref();
            let same = content.is_some_and(|(body, query)| *body == request.body && query == request.query());
            return Some(if same { Submitted::Repeated(holder.id.clone()) } else { Submitted::KeyReused });
        }
        let content = (request.body.clone(), request.query().to_vec());
        self.0.insert(key, Holder { id: request.id.clone(), content: Some(content) });
        None
    }
}

/// The length of a request's body. Only a stored body of the same length is read: otherwise a small request could make the
/// store read a large one.
fn length(request: &NewRequest) -> i64 {
    i64::try_from(request.body.len()).unwrap_or(i64::MAX)
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
    let (ids, lengths): (Vec<&str>, Vec<i64>) = by_id.iter().map(|(id, request)| (*id, length(request))).unzip();
    let sql = "SELECT r.id, r.route, CASE octet_length(b.body) WHEN i.length THEN b.body END, r.owner, r.seq, b.headers \
               FROM unnest($1::text[], $2::bigint[]) AS i (id, length) JOIN request AS r ON r.id = i.id \
               JOIN request_body AS b ON b.seq = r.seq";
    let mut known = HashMap::new();
    for row in query(sql).bind(ids).bind(lengths).fetch_all(conn).await? {
        let Some((id, request)) = by_id.get_key_value(row.try_get::<&str, _>(0)?) else { continue };
        let (route, body, owner): (&str, Option<&[u8]>, &str) = (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
        let same = request.route == route && *request.owner == *owner && body == Some(&request.body[..]);
        let same = same && query_of(&headers_from_bytes(row.try_get(5)?)) == request.query();
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
    let (mut seqs, mut keys) = (Vec::new(), Vec::new());
    for (seq, request) in named {
        if let Some(key) = &request.idempotency {
            seqs.push(seq);
            keys.push(key.as_bytes());
        }
    }
    if seqs.is_empty() {
        return Ok(());
    }
    let sql = "UPDATE request AS r SET idempotency = i.key FROM unnest($1::bigint[], $2::bytea[]) AS i (seq, key) \
               WHERE r.seq = i.seq AND r.idempotency IS NULL";
    query(sql).bind(seqs).bind(keys).execute(conn).await.map(drop)
}
