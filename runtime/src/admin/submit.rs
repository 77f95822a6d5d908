//! New requests that the operator makes, for example to try a route.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, StatusCode, Uri};

use super::Admin;
use super::answer::{Json, Problem};
use super::audit::{self, Actor};
use super::model::Submitted;
use super::query::Parameters;

/// `POST /requests?route=ROUTE`: accepts a request. After the path of the route may come a query, as in `/greet?lang=en`.
/// Body and headers are those of a `POST` to the route, and are checked in the same way. The request belongs to no token.
pub(super) async fn submit(
    State(admin): State<Arc<Admin>>,
    Extension(who): Extension<Actor>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let parameters = Parameters::of(&uri, &["route"])?;
    let wanted = || Problem::invalid("route", "`route` must be the path of a route, such as /greet");
    let target = parameters.text("route").ok_or_else(wanted)?;
    // The query is the caller's, and is no part of what the log and the answer say.
    let route = target.split('?').next().unwrap_or_default().to_owned();
    let of_task = Arc::clone(&admin);
    let submitted = admin.change(async move {
        let id = (of_task.hooks.submit)(target, headers, body).await?;
        audit::record(&of_task.store, &who, "request.submit", id.as_str(), &route).await;
        Ok(Submitted { id: id.to_string(), route })
    });
    let mut response = Json(submitted.await?).into_response();
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}
