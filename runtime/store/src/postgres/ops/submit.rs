//! Writes new requests.

use std::collections::HashSet;

use sqlx::Row as _;

use super::Apply;
use crate::ops::Submit;
use crate::postgres::codec::{extras_to_text, headers_to_bytes, registration_to_text};
use crate::postgres::idempotency::{self, Keys, Known};
use crate::postgres::statement::query;
use crate::postgres::{Batch, handed_in};
use crate::record::{NewRequest, Submitted};
use crate::sql::states::RequestState;
use crate::terms::{IdempotencyKey, Terms};

struct New<'a> {
    /// The index of the operation in the batch.
    at: usize,
    request: &'a NewRequest,
    is_pre_claimed: bool,
}

impl Apply for Submit {
    async fn apply(batch: &mut Batch<'_>) -> Result<(), sqlx::Error> {
        let mut new = Vec::new();
        let all = untaken(batch).await?;
        let mut keys = Keys::read(batch.conn, all.iter().map(|(_, op)| &*op.request)).await?;
        // A request whose id is known takes no key, so that no other request of the batch gets its id by the key.
        let keyed = all.iter().map(|(_, op)| &*op.request).filter(|request| request.idempotency.is_some());
        let known = idempotency::known(batch.conn, keyed).await?;
        let mut named = Vec::new();
        for (at, Self { request, room, .. }) in all {
            if let Some(Known { seq, answer }) = known.get(request.id.as_str()) {
                if *answer == Submitted::Known && keys.take(request).is_none() {
                    named.push((*seq, &**request));
                }
                batch.answer::<Self>(at, answer.clone());
                continue;
            }
            if let Some(answer) = keys.take(request) {
                batch.answer::<Self>(at, answer);
                continue;
            }
            new.push(New { at, request, is_pre_claimed: room.is_some() });
        }
        idempotency::write(batch.conn, named.into_iter()).await?;
        if new.is_empty() {
            return Ok(());
        }
        let written = write(batch, &new).await?;
        let (new, old): (Vec<New<'_>>, Vec<New<'_>>) =
            new.into_iter().partition(|row| written.contains(row.request.id.as_str()));
        for row in &new {
            batch.answer::<Self>(row.at, Submitted::New);
        }
        let known = idempotency::known(batch.conn, old.iter().map(|row| row.request)).await?;
        let mut keys = Keys::read(batch.conn, old.iter().map(|row| row.request)).await?;
        for row in &old {
            let known = known.get(row.request.id.as_str()).map(|known| known.answer.clone());
            // The id is new, so another node has just accepted a request with the same key.
            let answer = known.or_else(|| keys.take(row.request)).ok_or(sqlx::Error::RowNotFound)?;
            batch.answer::<Self>(row.at, answer);
        }
        Ok(())
    }
}

/// Returns the operations of the batch, but not those whose request was handed in and was taken before.
async fn untaken<'a>(batch: &mut Batch<'a>) -> Result<Vec<(usize, &'a Submit)>, sqlx::Error> {
    let handed_in = batch.of::<Submit>().filter(|(_, op)| op.is_handed_in);
    let taken = handed_in::take(batch.conn, handed_in.map(|(_, op)| op.request.id.to_string()).collect()).await?;
    let mut untaken = Vec::new();
    for (at, op) in batch.of::<Submit>() {
        if op.is_handed_in && !taken.contains(op.request.id.as_str()) {
            batch.answer::<Submit>(at, Submitted::Known);
        } else {
            untaken.push((at, op));
        }
    }
    Ok(untaken)
}

/// The values of new requests, one list for each column.
#[derive(Default)]
struct Columns<'a> {
    ids: Vec<&'a str>,
    routes: Vec<&'a str>,
    owners: Vec<&'a str>,
    keys: Vec<Option<&'a [u8]>>,
    states: Vec<i64>,
    priorities: Vec<i64>,
    due: Vec<i64>,
    created: Vec<i64>,
    deadlines: Vec<Option<i64>>,
    timeouts: Vec<Option<i64>>,
    extras: Vec<Option<String>>,
    headers: Vec<Vec<u8>>,
    bodies: Vec<&'a [u8]>,
    registrations: Vec<Option<String>>,
}

/// Writes new requests with all that belongs to them. Skips a request if the table already has its id or its key. Returns
/// the ids of the requests that were written.
async fn write(batch: &mut Batch<'_>, new: &[New<'_>]) -> Result<HashSet<String>, sqlx::Error> {
    let now = batch.now;
    let mut columns = Columns::default();
    for New { request, is_pre_claimed, .. } in new {
        let state = if *is_pre_claimed { RequestState::Running } else { RequestState::Queued };
        let Terms { priority, run_at, deadline, timeout } = request.terms;
        columns.ids.push(request.id.as_str());
        columns.routes.push(&request.route);
        columns.owners.push(&request.owner);
        columns.keys.push(request.idempotency.as_ref().map(IdempotencyKey::as_bytes));
        columns.states.push(state.code());
        columns.priorities.push(i64::from(priority));
        columns.due.push(run_at.map_or(now.due, |at| now.due_at(at).max(now.due)).micros());
        columns.created.push(request.created.micros());
        columns.deadlines.push(deadline.map(|deadline| now.due_at(deadline).micros()));
        columns.timeouts.push(timeout.map(|timeout| i64::try_from(timeout.as_micros()).unwrap_or(i64::MAX)));
        columns.extras.push(request.extras.as_deref().map(extras_to_text).transpose()?.flatten());
        columns.headers.push(headers_to_bytes(&request.headers));
        columns.bodies.push(&request.body);
        columns.registrations.push(request.registration.as_deref().map(registration_to_text).transpose()?);
    }
    // The states 0 and 1 of a new request are also the number of its claims.
    let sql = "WITH i AS (SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::bigint[], \
                   $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::text[], $12::bytea[], \
                   $13::bytea[], $14::text[]) WITH ORDINALITY AS i (id, route, owner, key, state, priority, due, \
                   created, deadline, timeout, extras, headers, body, registration, n)), \
               r AS (INSERT INTO request (id, route, owner, idempotency, state, priority, due, later, epoch, failures, \
                   crashes, node, started, created, deadline, timeout, extras) \
                   SELECT id, route, owner, key, state, priority, due, due > $15, state, 0, 0, \
                       CASE state WHEN 1 THEN $16::bigint END, CASE state WHEN 1 THEN $17::bigint END, created, deadline, timeout, extras \
                   FROM i ORDER BY n ON CONFLICT DO NOTHING RETURNING seq, id), \
               b AS (INSERT INTO request_body (seq, headers, body) \
                   SELECT r.seq, i.headers, i.body FROM r JOIN i ON i.id = r.id), \
               g AS (INSERT INTO registration (seq, text) \
                   SELECT r.seq, i.registration FROM r JOIN i ON i.id = r.id WHERE i.registration IS NOT NULL) \
               SELECT id FROM r";
    let c = columns;
    let insert = query(sql).bind(c.ids).bind(c.routes).bind(c.owners).bind(c.keys).bind(c.states);
    let insert = insert.bind(c.priorities).bind(c.due).bind(c.created).bind(c.deadlines).bind(c.timeouts);
    let insert = insert.bind(c.extras).bind(c.headers).bind(c.bodies).bind(c.registrations);
    let insert = insert.bind(now.due.micros()).bind(batch.start.node).bind(now.wall.micros());
    insert.fetch_all(&mut *batch.conn).await?.iter().map(|row| row.try_get(0)).collect()
}
