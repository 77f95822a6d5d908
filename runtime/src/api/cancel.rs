//! `DELETE R/{id}`: cancels a request.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;

use super::Api;
use super::problem::{Form, Problem};
use super::status::{IN_PROGRESS, json};
use crate::handler::{Route, Run};
use crate::id::RequestId;
use crate::line::Causes;
use crate::poster::{Registered, RequestEnd};
use crate::report::{self, EndReason, Outcome};
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
    let (tasks, asked, path) = (api.shutdown.clone(), id.clone(), route.path.clone());
    // Whoever hangs up does not keep from the log what is committed.
    let answered = tasks.spawn(async move { cancel(&api, &route, &asked).await }).await;
    match answered.map_err(|_| Problem::internal())? {
        Ok(Cancelled::AtOnce(outcome)) => {
            Ok(standing(StatusCode::OK, &id, outcome.status.as_str(), outcome.told_reason().as_ref()))
        }
        Ok(Cancelled::Stopping) => Ok(standing(StatusCode::ACCEPTED, &id, IN_PROGRESS, None)),
        Ok(Cancelled::Over) => Err(Problem::new(
            StatusCode::CONFLICT,
            format!("id {id} is over, so it cannot be cancelled; GET tells how it ended"),
        )),
        Ok(Cancelled::Unknown) => Err(Problem::unknown_id(text)),
        Err(error) => {
            warn_unless_told!(error, request_id = %id, route = path, "{id} cannot be cancelled: {}", Causes(&error));
            Err(Problem::unavailable(format!("it is not known whether id {id} is cancelled; try again")))
        }
    }
}

/// The same as GET would answer: what is cancelled has neither result nor error.
fn standing(code: StatusCode, id: &RequestId, status: &str, reason: Option<&EndReason>) -> Response {
    let mut body = vec![b'{'];
    report::write_id_and_status(id.as_str(), status, &mut body);
    report::write_reason(reason, &mut body);
    body.extend_from_slice(b"}\n");
    json(code, Body::from(body))
}

/// Where the end of this request is reported, if it waits and nothing is known of that: asked in place of its run.
async fn asked(api: &Api, route: &Arc<Route>, id: &RequestId) -> Result<Option<Registered>, Error> {
    if route.attribute.is_none() {
        return Ok(None);
    }
    let Some((headers, body)) = api.store.unregistered(id, &route.path).await? else { return Ok(None) };
    let (route, run) = (Arc::clone(route), Run::of(id.clone(), Arc::new(headers), body));
    // The program's own code: it may take its time.
    Ok(tokio::task::spawn_blocking(move || route.ask_instead(&run)).await.ok().flatten())
}

async fn cancel(api: &Api, route: &Arc<Route>, id: &RequestId) -> Result<Cancelled, Error> {
    let mut end = None;
    let asked = asked(api, route, id).await?;
    let cancelled = api.store.cancel(id, &route.path, |registration| {
        let outcome = Outcome::cancelled(api.clock.now());
        let registered = registration.map(Registered::from).or_else(|| asked.clone());
        let registered = registered.or_else(|| Registered::of_route(&route.webhook));
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
