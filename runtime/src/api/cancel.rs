//! `DELETE ROUTE/{id}`: cancels a request.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;

use super::problem::{Code, Form, Problem};
use super::response::{IN_PROGRESS, json};
use super::{Api, gate};
use crate::access::{Caller, Scope};
use crate::cancel::cancel;
use crate::handler::Route;
use postback_store::{Cancelled, Error, warn_unless_logged};
use postback_wire::id::RequestId;
use postback_wire::line::Causes;
use postback_wire::report::{self, EndReason};

/// Answers an HTTP `DELETE`, which cancels a request.
pub(super) async fn call(api: Arc<Api>, route: Arc<Route>, request: Request) -> Response {
    let form = Form::of(request.headers());
    let caller = match gate::permit(request.extensions(), Scope::Cancel, &route.path) {
        Ok(caller) => caller,
        Err(problem) => return problem.respond(form),
    };
    let uri = request.into_parts().0.uri;
    let text = uri.path().rsplit('/').next().unwrap_or_default();
    let answer = answer(api, route, caller, text).await;
    answer.unwrap_or_else(|problem| problem.respond(form))
}

async fn answer(api: Arc<Api>, route: Arc<Route>, caller: Caller, text: &str) -> Result<Response, Problem> {
    let id: RequestId = text.parse().map_err(|_| Problem::unknown_id(text))?;
    let (tasks, to_cancel, path) = (api.shutdown.clone(), id.clone(), route.path.clone());
    // The cancel runs in a separate task. If the client closes the connection, only the HTTP call ends. The separate
    // task continues, so the server still logs a cancel that the store has committed.
    let cancelled = tasks.spawn(async move {
        let owner = caller.sees();
        cancel(&api.store, &api.clock, (&route.path, &api.routes), &to_cancel, owner).await
    });
    let cancelled = cancelled.await;
    match cancelled.map_err(|_| Problem::internal())? {
        Ok(Cancelled::AtOnce(outcome)) => {
            Ok(cancel_answer(StatusCode::OK, &id, outcome.status.as_str(), outcome.told_reason().as_ref()))
        }
        Ok(Cancelled::Stopping) => Ok(cancel_answer(StatusCode::ACCEPTED, &id, IN_PROGRESS, None)),
        Ok(Cancelled::Over) => Err(Problem::new(
            Code::RequestOver,
            format!("id {id} is over, so it cannot be cancelled; GET says how it ended"),
        )),
        Ok(Cancelled::Unknown) => Err(Problem::unknown_id(text)),
        Err(Error::Full) => Err(Problem::new(
            Code::QueueFull,
            format!("id {id} was handed in and is not taken yet, so it cannot be cancelled now; try again"),
        )),
        Err(error) => {
            warn_unless_logged!(error, request_id = %id, route = path, "{id} cannot be cancelled: {}", Causes(&error));
            Err(Problem::new(
                Code::StoreUnavailable,
                format!("it is not known whether id {id} is cancelled; try again"),
            ))
        }
    }
}

/// Makes the answer to a cancel. The answer has the same JSON members as the answer to a `GET`, but not `result` and
/// `error`, because a cancelled request has no result and no error.
fn cancel_answer(code: StatusCode, id: &RequestId, status: &str, reason: Option<&EndReason>) -> Response {
    let mut body = vec![b'{'];
    report::write_id_and_status(id.as_str(), status, &mut body);
    report::write_reason(reason, &mut body);
    body.extend_from_slice(b"}\n");
    json(code, Body::from(body))
}
