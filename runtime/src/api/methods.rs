//! The methods that each path takes: `OPTIONS` and a method that the path does not take are answered with their list.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::{MethodRouter, get};
use http::header::ALLOW;
use http::{HeaderValue, Method, StatusCode};

use super::problem::{Form, Problem};
use super::{Api, cancel, events, health, list, metrics, public_keys, result, status, submit};
use crate::handler::Route;

/// The methods of the path of a route.
const OF_ROUTE: &str = "GET, HEAD, POST, OPTIONS";
/// The methods of the path of a request.
const OF_REQUEST: &str = "GET, HEAD, DELETE, OPTIONS";
/// The methods of a path that can only be read.
const READ: &str = "GET, HEAD, OPTIONS";

/// Returns a router with all paths of the API and their methods.
pub(super) fn router(api: &Arc<Api>) -> Router {
    let mut router = Router::new().route("/healthz", taking(READ, get(health::alive)));
    for route in api.routes.iter() {
        let of_route = get(of(api, route, list::call)).post(of(api, route, submit::call));
        let of_request = get(of(api, route, status::call)).delete(of(api, route, cancel::call));
        let [path, id, result, events] = paths_of(route);
        router = router
            .route(&path, taking(OF_ROUTE, of_route))
            .route(&id, taking(OF_REQUEST, of_request))
            .route(&result, taking(READ, get(of(api, route, result::call))))
            .route(&events, taking(READ, get(of(api, route, events::call))));
    }
    let (of_document, of_metrics, of_keys) = (Arc::clone(api), Arc::clone(api), Arc::clone(api));
    let api = Arc::clone(api);
    let document = async move |request: Request| of_document.documents.answer(&request);
    let router = router.route("/openapi.json", taking(READ, get(document)));
    let metrics = async move |request: Request| metrics::show(&of_metrics, &request);
    let router = router.route("/metrics", taking(READ, get(metrics)));
    let keys = async move |request: Request| public_keys::show(&of_keys, &request);
    let router = router.route(public_keys::PATH, taking(READ, get(keys)));
    router.route("/readyz", taking(READ, get(move |request: Request| health::ready(Arc::clone(&api), request))))
}

/// Returns all paths of the API.
pub(super) fn paths(api: &Api) -> Vec<String> {
    let of_server = ["/healthz", "/readyz", "/metrics", "/openapi.json", public_keys::PATH].map(str::to_owned);
    let of_routes = api.routes.iter().flat_map(|route| paths_of(route));
    of_server.into_iter().chain(of_routes).collect()
}

/// Returns the paths of a route: its own, that of a request, and those of its result and its events.
fn paths_of(route: &Route) -> [String; 4] {
    let id = format!("{}/{{id}}", route.path);
    let below = |segment| format!("{id}/{segment}");
    [route.path.clone(), id.clone(), below(result::SEGMENT), below(events::SEGMENT)]
}

/// Returns a function that answers a call of one route.
fn of<Answer>(
    api: &Arc<Api>,
    route: &Arc<Route>,
    call: fn(Arc<Api>, Arc<Route>, Request) -> Answer,
) -> impl Fn(Request) -> Answer + Clone + Send + Sync + 'static
where
    Answer: Future<Output = Response> + Send + 'static,
{
    let (api, route) = (Arc::clone(api), Arc::clone(route));
    move |request| call(Arc::clone(&api), Arc::clone(&route), request)
}

/// Answers `OPTIONS` and all methods that `path` has no handler for. `methods` lists the methods that the path takes.
fn taking(methods: &'static str, path: MethodRouter) -> MethodRouter {
    path.fallback(move |request: Request| async move {
        if request.method() == Method::OPTIONS {
            return options(methods);
        }
        Problem::method(request.method(), methods).respond(Form::of(request.headers()))
    })
}

/// Makes the answer to an `OPTIONS`, which lists the methods that a path takes.
pub(super) fn options(methods: &'static str) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    response
}
