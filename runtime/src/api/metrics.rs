//! `/metrics`: the metrics of the process, for the operator, or for everybody if `server.public` says so.

use axum::extract::Request;
use axum::response::Response;
use http::HeaderMap;

use super::Api;
use super::problem::{Code, Form, Problem};
use crate::access::ClientAddress;
use crate::telemetry::metrics::{Metrics, OF_PROGRAM};

/// What a client is told if nobody may see the metrics.
const CLOSED: &str = "the metrics are for the operator: set server.admin_token and send it as a bearer token, or list \
                      \"metrics\" in server.public to show them to everybody";

/// Whether a call with this head comes from the operator. `None`: there is no token by which an operator is known.
pub(crate) type IsOperator =
    Box<dyn Fn(&HeaderMap, Option<ClientAddress>) -> Option<Result<(), Problem>> + Send + Sync>;

/// What is needed to show the metrics.
pub(crate) struct MetricsAccess {
    /// `None` if the program has installed a metrics recorder of its own.
    pub(crate) metrics: Option<Metrics>,
    pub(crate) is_operator: IsOperator,
}

/// Answers the URL path `/metrics`.
pub(super) fn show(api: &Api, request: &Request) -> Response {
    let metrics = api.metrics.metrics.as_ref();
    let answer = permit(api, request)
        .and_then(|()| metrics.map(Metrics::answer).ok_or_else(|| Problem::new(Code::NotFound, OF_PROGRAM)));
    answer.unwrap_or_else(|problem| problem.respond(Form::of(request.headers())))
}

fn permit(api: &Api, request: &Request) -> Result<(), Problem> {
    if api.access.options().public.metrics {
        return Ok(());
    }
    let client = request.extensions().get().copied();
    (api.metrics.is_operator)(request.headers(), client).unwrap_or_else(|| Err(Problem::new(Code::NotFound, CLOSED)))
}
