//! Writes new requests.

use std::sync::LazyLock;

use super::Apply;
use crate::ops::Submit;
use crate::record::{NewRequest, Submitted};
use crate::sqlite::Batch;
use crate::sqlite::bulk::{Bind, Many};
use crate::sqlite::codec::{extras_to_text, headers_to_bytes, registration_to_text};
use crate::sqlite::idempotency::{self, Keys, Known};
use crate::sqlite::requests::write_registrations;
use crate::sqlite::states::RequestState;
use crate::terms::Terms;

static REQUESTS: LazyLock<Many<1>> = LazyLock::new(|| {
    Many::new([(
        "INSERT INTO request (seq, id, route, state, due, epoch, failures, crashes, node, created, \
         owner, priority, deadline, timeout, started, extras, later) \
         SELECT * FROM $rows WHERE column1 IS NOT NULL ON CONFLICT (id) DO NOTHING",
        17,
    )])
});
static BODIES: LazyLock<Many<1>> = LazyLock::new(|| {
    Many::new([("INSERT INTO request_body (seq, headers, body) SELECT * FROM $rows WHERE column1 IS NOT NULL", 3)])
});

struct New<'a> {
    /// The index of the operation in the batch.
    at: usize,
    seq: i64,
    request: &'a NewRequest,
    is_pre_claimed: bool,
    /// The extras of the request as JSON.
    extras: Option<String>,
}

impl Apply for Submit {
    async fn apply(batch: &mut Batch<'_>) -> Result<(), sqlx::Error> {
        let mut seq = batch.start.last_request;
        let mut new = Vec::new();
        let mut keys = Keys::read(batch.conn, batch.of::<Self>().map(|(_, op)| &*op.request)).await?;
        // A request whose id is known takes no key, so that no other request of the batch gets its id by the key.
        let keyed = batch.of::<Self>().map(|(_, op)| &*op.request).filter(|request| request.idempotency.is_some());
        let known = idempotency::known(batch.conn, keyed).await?;
        let mut named = Vec::new();
        for (at, Self { request, room, .. }) in batch.of::<Self>() {
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
            seq += 1;
            let extras = request.extras.as_deref().map(extras_to_text).transpose()?;
            new.push(New { at, seq, request, is_pre_claimed: room.is_some(), extras });
        }
        idempotency::write(batch.conn, named.into_iter()).await?;
        if new.is_empty() {
            return Ok(());
        }
        batch.start.last_request = seq;
        if write_requests(batch, &new).await? < new.len() as u64 {
            let known = idempotency::known(batch.conn, new.iter().map(|row| row.request)).await?;
            new.retain(|row| match known.get(row.request.id.as_str()) {
                Some(Known { answer, .. }) => {
                    batch.answer::<Self>(row.at, answer.clone());
                    false
                }
                None => true,
            });
        }
        let body: Bind<'_, New<'_>> = &|columns, New { seq, request, .. }| {
            columns.add(*seq).add(headers_to_bytes(&request.headers)).add(&*request.body);
        };
        BODIES.run(batch.conn, &new, [body]).await?;
        let registered = new.iter().filter_map(|row| Some((row.seq, row.request.registration.as_ref()?)));
        let texts = registered.map(|(seq, registration)| Ok((seq, registration_to_text(registration)?)));
        write_registrations(batch.conn, &texts.collect::<Result<Vec<_>, sqlx::Error>>()?).await?;
        idempotency::write(batch.conn, new.iter().map(|row| (row.seq, row.request))).await?;
        for row in &new {
            batch.answer::<Self>(row.at, Submitted::New);
        }
        Ok(())
    }
}

/// Writes the rows of requests without the bodies. Skips a request if the table already has its id. Returns the number
/// of rows that were written.
async fn write_requests(batch: &mut Batch<'_>, new: &[New<'_>]) -> Result<u64, sqlx::Error> {
    let (node, now) = (batch.start.node, batch.now);
    let request: Bind<'_, New<'_>> = &|columns, New { seq, request, is_pre_claimed, extras, .. }| {
        let state = if *is_pre_claimed { RequestState::Running } else { RequestState::Queued };
        let epoch = i64::from(*is_pre_claimed);
        columns.add(*seq).add(request.id.as_str()).add(request.route.as_str()).add(state.code());
        let Terms { priority, run_at, deadline, timeout } = request.terms;
        let due = run_at.map_or(now.due, |at| now.due_at(at).max(now.due));
        columns.add(due.micros()).add(epoch).add(0_i64).add(0_i64);
        columns.add(is_pre_claimed.then_some(node)).add(request.created.micros());
        columns.add(&*request.owner).add(i64::from(priority));
        columns.add(deadline.map(|deadline| now.due_at(deadline).micros()));
        columns.add(timeout.map(|timeout| i64::try_from(timeout.as_micros()).unwrap_or(i64::MAX)));
        columns.add(is_pre_claimed.then_some(now.wall.micros())).add(extras.as_deref());
        columns.add(i64::from(due > now.due));
    };
    REQUESTS.run(batch.conn, new, [request]).await
}
