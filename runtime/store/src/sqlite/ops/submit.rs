//! Writes new requests.

use rusqlite::params;

use super::Apply;
use crate::ops::Submit;
use crate::record::Submitted;
use crate::sqlite::Batch;
use crate::sqlite::codec::{extras_to_text, headers_to_bytes};
use crate::sqlite::statement::statement;
use crate::sqlite::states::RequestState;
use crate::sqlite::{handed_in, idempotency};
use crate::terms::{IdempotencyKey, Terms};

const REQUEST: &str = "INSERT INTO request (seq, id, route, state, due, epoch, failures, crashes, node, created, \
    owner, priority, deadline, timeout, started, extras, later, idempotency) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, 0, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16) ON CONFLICT DO NOTHING";
const BODY: &str = "INSERT INTO request_body (seq, headers, body, registration) VALUES (?1, ?2, ?3, ?4)";

impl Apply for Submit {
    fn apply(batch: &mut Batch<'_>) -> Result<(), rusqlite::Error> {
        let mut all = batch.of::<Self>().peekable();
        if all.peek().is_none() {
            return Ok(());
        }
        let (conn, node, now) = (batch.conn, batch.start.node, batch.now);
        let (mut write, mut write_body) = (statement(conn, REQUEST)?, statement(conn, BODY)?);
        for (at, Self { request, room, is_handed_in, .. }) in all {
            if *is_handed_in && !handed_in::take(conn, request.id.as_str())? {
                batch.answer::<Self>(at, Submitted::Known);
                continue;
            }
            if let Some(key) = &request.idempotency
                && batch.keys.may_be_taken(conn, key)?
                && let Some(answer) = idempotency::repeated(conn, request, batch.keys.fresh().get(key))?
            {
                batch.answer::<Self>(at, answer);
                continue;
            }
            let (seq, is_pre_claimed) = (batch.start.last_request + 1, room.is_some());
            let state = if is_pre_claimed { RequestState::Running } else { RequestState::Queued };
            let Terms { priority, run_at, deadline, timeout } = request.terms;
            let due = run_at.map_or(now.due, |at| now.due_at(at).max(now.due));
            let written = write.execute(params![
                seq,
                request.id.as_str(),
                request.route,
                state.code(),
                due.micros(),
                is_pre_claimed,
                is_pre_claimed.then_some(node),
                request.created.micros(),
                &*request.owner,
                priority,
                deadline.map(|deadline| now.due_at(deadline).micros()),
                timeout.map(|timeout| i64::try_from(timeout.as_micros()).unwrap_or(i64::MAX)),
                is_pre_claimed.then_some(now.wall.micros()),
                request.extras.as_deref().map(extras_to_text).transpose()?.flatten(),
                due > now.due,
                request.idempotency.as_ref().map(IdempotencyKey::as_bytes),
            ])?;
            if written == 0 {
                // Invariant: only a taken id keeps a request from being written.
                let answer = idempotency::repeated(conn, request, None)?;
                batch.answer::<Self>(at, answer.unwrap_or(Submitted::Conflict));
                continue;
            }
            batch.start.last_request = seq;
            if let Some(key) = &request.idempotency {
                batch.keys.add(key, seq);
            }
            if is_pre_claimed {
                batch.request_rows.claimed(request.id.clone(), seq);
            }
            let registration = request.registration.as_ref().map(|new| batch.texts.of(new)).transpose()?;
            write_body.execute(params![seq, headers_to_bytes(&request.headers), &*request.body, registration])?;
            batch.answer::<Self>(at, Submitted::New);
        }
        Ok(())
    }
}
