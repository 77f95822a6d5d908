//! The tables of requests: submit, claim, settle.

use std::collections::{HashMap, HashSet};

use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::Batch;
use super::bulk::Bind;
use super::codec::{
    blob, headers_from_bytes, headers_to_bytes, json, reason_to_text, registration_from_text, registration_to_text,
    small, status_code,
};
use super::statement::query;
use crate::id::RequestId;
use crate::report::Outcome;
use crate::store::operation::{Op, Reply};
use crate::store::record::{Claim, ClaimedRequest, NewRequest, RequestClaim, Settled, Submitted};
use crate::time::Timestamp;

struct New<'a> {
    at: usize,
    seq: i64,
    request: &'a NewRequest,
    born: bool,
}

pub(super) async fn submit(batch: &mut Batch<'_>) -> Result<(), sqlx::Error> {
    let mut seq = batch.start.last_request;
    let mut new = Vec::new();
    for (at, op) in batch.ops.iter().enumerate() {
        if let Op::Submit { request, room, .. } = op {
            seq += 1;
            new.push(New { at, seq, request, born: room.is_some() });
        }
    }
    if new.is_empty() {
        return Ok(());
    }
    batch.start.last_request = seq;
    let (node, due) = (batch.start.node, batch.now.due);
    let submit: Bind<'_, New<'_>> = &|columns, New { seq, request, born, .. }| {
        let born = i64::from(*born);
        columns.add(*seq).add(request.id.as_str()).add(request.route.as_str()).add(born);
        columns.add(due.micros()).add(born).add(0_i64).add(0_i64);
        columns.add((born == 1).then_some(node)).add(request.created.micros());
    };
    if batch.statements.submit.run(batch.conn, &new, [submit]).await? < new.len() as u64 {
        let known = known(batch.conn, &new).await?;
        new.retain(|row| match known.get(row.request.id.as_str()) {
            Some(reply) => {
                batch.reply(row.at, Reply::Submitted(*reply));
                false
            }
            None => true,
        });
    }
    let body: Bind<'_, New<'_>> = &|columns, New { seq, request, .. }| {
        columns.add(*seq).add(headers_to_bytes(&request.headers)).add(&*request.body);
    };
    batch.statements.submit_bodies.run(batch.conn, &new, [body]).await?;
    let registered = new.iter().filter_map(|row| Some((row.seq, row.request.registration.as_ref()?)));
    let texts = registered.map(|(seq, registration)| Ok((seq, registration_to_text(registration)?)));
    keep(batch, &texts.collect::<Result<Vec<_>, sqlx::Error>>()?).await?;
    for row in &new {
        batch.reply(row.at, Reply::Submitted(Submitted::New));
    }
    Ok(())
}

/// Those of the ids that were accepted before. Of the new ones no body is written yet.
async fn known(conn: &mut SqliteConnection, new: &[New<'_>]) -> Result<HashMap<String, Submitted>, sqlx::Error> {
    let by_id: HashMap<&str, &NewRequest> = new.iter().map(|row| (row.request.id.as_str(), row.request)).collect();
    let ids: Vec<&str> = by_id.keys().copied().collect();
    let sql = "SELECT r.id, r.route, b.body FROM request r JOIN request_body b ON b.seq = r.seq \
               WHERE r.id IN (SELECT value FROM json_each(?1))";
    let mut known = HashMap::new();
    for row in query(sql).bind(json(&ids)?).fetch_all(conn).await? {
        let (id, route): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let body: &[u8] = row.try_get(2)?;
        let same = by_id.get(id.as_str()).is_some_and(|request| request.route == route && request.body == body);
        known.insert(id, if same { Submitted::Known } else { Submitted::Conflict });
    }
    Ok(known)
}

/// Settles; which of the operations were current.
pub(super) async fn settle(batch: &mut Batch<'_>) -> Result<HashSet<usize>, sqlx::Error> {
    let mut settles = HashMap::new();
    let mut list = Vec::new();
    for (at, op) in batch.ops.iter().enumerate() {
        if let Op::SettleRequest { claim, queued, outcome, .. } = op {
            let (status, finished) = (status_code(outcome.status), outcome.finished.micros());
            list.push((claim.id.as_str(), claim.epoch, status, finished, i64::from(!queued)));
            settles.insert(claim.id.as_str(), (at, claim.epoch, outcome));
            batch.reply(at, Reply::Settled(Settled::Stale));
        }
    }
    if list.is_empty() {
        return Ok(HashSet::new());
    }
    let sql = "UPDATE request SET state = j.state, finished = j.finished, node = NULL \
               FROM (SELECT value ->> 0 AS id, value ->> 1 AS epoch, value ->> 2 AS state, value ->> 3 AS finished, \
                     value ->> 4 AS was FROM json_each(?1)) AS j \
               WHERE request.id = j.id AND request.epoch = j.epoch AND request.state = j.was RETURNING seq, id";
    let rows = query(sql).bind(json(&list)?).fetch_all(&mut *batch.conn).await?;
    let mut current = HashSet::new();
    let mut outcomes = Vec::with_capacity(rows.len());
    for row in rows {
        let seq: i64 = row.try_get(0)?;
        if let Some((at, epoch, outcome)) = settles.get(row.try_get::<&str, _>(1)?) {
            outcomes.push((seq, *epoch, *outcome));
            current.insert(*at);
            batch.reply(*at, Reply::Settled(Settled::Current));
        }
    }
    let outcome: Bind<'_, (i64, u32, &Outcome)> = &|columns, (seq, epoch, outcome)| {
        let bytes = |json: &Option<crate::report::Json>| json.as_ref().map(|json| json.bytes().to_vec());
        columns.add(*seq).add(i64::from(*epoch)).add(&*reason_to_text(outcome));
        columns.add(bytes(&outcome.result)).add(bytes(&outcome.error)).add(outcome.detail.as_deref());
    };
    batch.statements.outcomes.run(batch.conn, &outcomes, [outcome]).await?;
    Ok(current)
}

/// Puts running requests back into the queue.
pub(super) async fn release(batch: &mut Batch<'_>) -> Result<(), sqlx::Error> {
    let mut list = Vec::new();
    let mut row_ids = HashMap::new();
    for (at, op) in batch.ops.iter().enumerate() {
        if let Op::ReleaseRequest { claim, due, failed } = op {
            let due = due.unwrap_or(batch.now.due).micros();
            list.push((claim.id.as_str(), claim.epoch, due, i64::from(*failed)));
            row_ids.insert(claim.id.as_str(), at);
            batch.reply(at, Reply::Settled(Settled::Stale));
        }
    }
    if list.is_empty() {
        return Ok(());
    }
    // What is cancelled is due at once, whatever it was to wait for.
    let sql = "UPDATE request SET state = 0, node = NULL, failures = failures + j.failed, \
               due = iif(cancel, min(j.due, ?2), j.due) \
               FROM (SELECT value ->> 0 AS id, value ->> 1 AS epoch, value ->> 2 AS due, value ->> 3 AS failed \
                     FROM json_each(?1)) AS j \
               WHERE request.id = j.id AND request.epoch = j.epoch AND request.state = 1 RETURNING id";
    let release = query(sql).bind(json(&list)?).bind(batch.now.due.micros());
    for row in release.fetch_all(&mut *batch.conn).await? {
        if let Some(at) = row_ids.get(row.try_get::<&str, _>(0)?) {
            batch.reply(*at, Reply::Settled(Settled::Current));
        }
    }
    Ok(())
}

/// Keeps registrations with the requests that run under the given claims.
pub(super) async fn register(batch: &mut Batch<'_>) -> Result<(), sqlx::Error> {
    let mut registrations = HashMap::new();
    let mut list: Vec<(&str, u32)> = Vec::new();
    for (at, op) in batch.ops.iter().enumerate() {
        if let Op::Register { claim: Claim { id, epoch }, registration } = op {
            list.push((id.as_str(), *epoch));
            registrations.insert(id.as_str(), (at, registration));
            batch.reply(at, Reply::Settled(Settled::Stale));
        }
    }
    if list.is_empty() {
        return Ok(());
    }
    let sql = "SELECT r.seq, r.id \
               FROM (SELECT value ->> 0 AS id, value ->> 1 AS epoch FROM json_each(?1)) AS j \
               CROSS JOIN request r WHERE r.id = j.id AND r.epoch = j.epoch AND r.state = 1";
    let mut texts = Vec::new();
    for row in query(sql).bind(json(&list)?).fetch_all(&mut *batch.conn).await? {
        if let Some((at, registration)) = registrations.get(row.try_get::<&str, _>(1)?) {
            texts.push((row.try_get::<i64, _>(0)?, registration_to_text(registration)?));
            batch.reply(*at, Reply::Settled(Settled::Current));
        }
    }
    keep(batch, &texts).await
}

/// Keeps these registrations, each with the request of this number.
async fn keep(batch: &mut Batch<'_>, texts: &[(i64, String)]) -> Result<(), sqlx::Error> {
    let text: Bind<'_, (i64, String)> = &|columns, (seq, text)| {
        columns.add(*seq).add(text.as_str());
    };
    batch.statements.register.run(batch.conn, texts, [text]).await.map(drop)
}

/// The rows that an `UPDATE … RETURNING` claimed, with their bodies, in the order in which they are due. The columns are `due, seq,
/// id, route, epoch, failures, crashes, created, cancel`; further ones are passed over.
pub(super) async fn claimed(
    conn: &mut SqliteConnection,
    mut rows: Vec<SqliteRow>,
) -> Result<Vec<ClaimedRequest>, sqlx::Error> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    // SQLite returns them in no particular order.
    rows.sort_by_key(|row| (row.try_get::<i64, _>(0).unwrap_or(0), row.try_get::<i64, _>(1).unwrap_or(0)));
    let seqs = rows.iter().map(|row| row.try_get::<i64, _>(1)).collect::<Result<Vec<_>, _>>()?;
    let sql = "SELECT b.seq, b.headers, b.body, g.text FROM request_body b LEFT JOIN registration g ON g.seq = b.seq \
               WHERE b.seq IN (SELECT value FROM json_each(?1))";
    let bodies = query(sql).bind(json(&seqs)?).fetch_all(conn).await?;
    let bodies = bodies.into_iter().map(|row| Ok((row.try_get::<i64, _>(0)?, row)));
    let bodies = bodies.collect::<Result<HashMap<_, _>, sqlx::Error>>()?;
    let one = |row: SqliteRow| {
        let body = bodies.get(&row.try_get::<i64, _>(1)?).ok_or(sqlx::Error::RowNotFound)?;
        let registration: Option<&str> = body.try_get(3)?;
        Ok(ClaimedRequest {
            claim: RequestClaim { id: RequestId::stored(row.try_get(2)?), epoch: small(&row, 4)? },
            route: row.try_get(3)?,
            headers: headers_from_bytes(body.try_get(1)?),
            body: blob(body, 2)?,
            created: Timestamp::from_micros(row.try_get(7)?),
            failures: small(&row, 5)?,
            crashes: small(&row, 6)?,
            cancelled: row.try_get(8)?,
            registration: registration.and_then(registration_from_text),
        })
    };
    rows.into_iter().map(one).collect()
}
