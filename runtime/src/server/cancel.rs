//! `DELETE R/{id}`: cancels a request.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;

use super::Api;
use super::problem::{Form, Problem};
use super::status::{IN_PROGRESS, json};
use crate::handler::Route;
use crate::id::RequestId;
use crate::line::Causes;
use crate::poster::{Registered, RequestEnd};
use crate::report::{self, Outcome};
use crate::store::{Cancelled, Error, warn_unless_told};

/// Answers a cancel.
pub(super) async fn call(api: Arc<Api>, route: Arc<Route>, request: Request) -> Response {
    let form = Form::of(request.headers());
    let uri = request.into_parts().0.uri;
    let text = uri.path().rsplit('/').next().unwrap_or_default();
    let answer = answer(api, route, text).await;
    answer.unwrap_or_else(|problem| problem.respond(form))
}

async fn answer(api: Arc<Api>, route: Arc<Route>, text: &str) -> Result<Response, Problem> {
    let id: RequestId = text.parse().map_err(|_| Problem::unknown_id(text))?;
    let (tasks, asked) = (api.shutdown.clone(), id.clone());
    // Whoever hangs up does not keep from the log what is committed.
    let answered = tasks.spawn(async move { cancel(&api, &route, &asked).await }).await;
    match answered.map_err(|_| Problem::internal())? {
        Ok(Cancelled::AtOnce(outcome)) => Ok(standing(StatusCode::OK, &id, outcome.status.as_str())),
        Ok(Cancelled::Stopping) => Ok(standing(StatusCode::ACCEPTED, &id, IN_PROGRESS)),
        Ok(Cancelled::Over) => Err(Problem::new(
            StatusCode::CONFLICT,
            format!("id {id} is over, so it cannot be cancelled; GET tells how it ended"),
        )),
        Ok(Cancelled::Unknown) => Err(Problem::unknown_id(text)),
        Err(error) => {
            warn_unless_told!(error, request_id = %id, "{id} cannot be cancelled: {}", Causes(&error));
            Err(Problem::unavailable(format!("it is not known whether id {id} is cancelled; try again")))
        }
    }
}

/// The same as GET would answer: what is cancelled has neither result nor error.
fn standing(code: StatusCode, id: &RequestId, status: &str) -> Response {
    let mut body = vec![b'{'];
    report::write_id_and_status(id.as_str(), status, &mut body);
    body.extend_from_slice(b"}\n");
    json(code, Body::from(body))
}

async fn cancel(api: &Api, route: &Route, id: &RequestId) -> Result<Cancelled, Error> {
    let mut end = None;
    let cancelled = api.store.cancel(id, &route.path, |registration| {
        let outcome = Outcome::cancelled(api.clock.now());
        let registered = registration.map(Registered::from).or_else(|| Registered::of_route(&route.webhook));
        let said = format!("{} {id} cancelled while it waited", route.path);
        let made = end.insert(RequestEnd::new(id, outcome, registered, said));
        (made.outcome.clone(), made.reports.clone())
    });
    let cancelled = cancelled.await?;
    if let (Cancelled::AtOnce(_), Some(end)) = (&cancelled, &end) {
        end.tell(id, &route.path);
    }
    Ok(cancelled)
}
