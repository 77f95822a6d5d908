//! The API as a router in the service of a user, who has connections, middleware and other routes of their own.
//!
//! What is decided per call stays the same: names, tokens, rates, the memory of bodies and answers. What is decided per
//! connection is up to the service. The guide `embedding` lists both.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{ConnectInfo, OriginalUri, Request};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::any;
use axum::{Extension, Router};
use http::{Extensions, Method, Uri};
use tokio::time::Instant;
use tower::ServiceExt as _;
use tower_http::catch_panic::CatchPanicLayer;

use super::gate::{self, Peer};
use super::problem::{Form, Problem};
use super::{Api, Server, call, head, health, methods, target};
use crate::openapi::Document;

/// The interval at which stalled answers are searched.
const SWEEP: Duration = Duration::from_secs(1);

/// The part of a call's path that is before the paths of this API, because the user has nested the router.
#[derive(Clone, Debug)]
struct Below(Arc<str>);

/// Returns the part of the path of a call that is before the paths of this API. It is empty in a server of its own.
pub(super) fn below(extensions: &Extensions) -> &str {
    extensions.get::<Below>().map_or("", |Below(prefix)| prefix)
}

impl Server {
    /// Returns the router for a service that has connections of its own.
    pub(crate) fn nestable(&self) -> Router {
        enterable(super::router(&self.api, None), methods::paths(&self.api))
    }

    /// Returns a router with these paths of the operator alone. They check who calls by themselves.
    pub(crate) fn of_operator(&self, paths: Router) -> Router {
        let router = paths
            .fallback(async |request: Request| {
                Problem::unknown_path(request.uri().path(), None).respond(Form::of(request.headers()))
            })
            .layer(from_fn_with_state(Arc::clone(&self.api.access), gate::pass));
        let router = router
            .layer(CatchPanicLayer::custom(|_: Box<dyn std::any::Any + Send>| Problem::internal().respond(Form::Text)));
        enterable(router, Vec::new())
    }

    /// Does what the loop of a server does beside accepting connections, until the server stops.
    pub(crate) async fn keep_up(self) {
        let mut sweep = tokio::time::interval(SWEEP);
        loop {
            tokio::select! {
                biased;
                () = self.api.shutdown.stopping() => return,
                _ = sweep.tick() => self.api.answers.sweep(Instant::now()),
            }
        }
    }

    /// Returns what says whether the node takes requests.
    pub(crate) fn readiness(&self) -> Readiness {
        Readiness(Arc::clone(&self.api))
    }
}

/// Says whether the node takes requests, as `/readyz` does.
#[derive(Clone)]
pub(crate) struct Readiness(Arc<Api>);

impl Readiness {
    /// Returns why the node takes no requests. `None`: it takes them.
    pub(crate) async fn why_not(&self) -> Option<String> {
        health::why_not(&self.0).await
    }
}

/// Makes a router for a service from one for a server. `paths` are the known ones of its paths: the service's own layers
/// learn from them which path a call has matched.
fn enterable(whole: Router, paths: Vec<String>) -> Router {
    let found = any(move |request| find(whole.clone(), request));
    // Other paths are a route and no fallback, because axum cannot nest a fallback below a prefix that has parameters.
    let paths = paths.into_iter().chain(["/".to_owned(), "/{*path}".to_owned()]);
    paths.fold(Router::new(), |router, path| router.route(&path, found.clone())).layer(from_fn(enter))
}

/// Lets the router of a server answer a call. The path of the call may have needless percent-encodings.
async fn find(router: Router, mut request: Request) -> Response {
    match target::normalised(request.uri()) {
        Ok(None) => {}
        Ok(Some(uri)) => *request.uri_mut() = uri,
        Err(problem) => return problem.respond(Form::of(request.headers())),
    }
    let Ok(response) = router.oneshot(request).await;
    response
}

/// Checks the head of a call, and notes where it comes from and where the router is nested.
async fn enter(
    peer: Option<Extension<ConnectInfo<SocketAddr>>>,
    original: Option<Extension<OriginalUri>>,
    request: Request,
    next: Next,
) -> Response {
    let is_head = request.method() == Method::HEAD;
    let (mut head, body) = request.into_parts();
    if let Err(problem) = head::check_in_router(&head) {
        return problem.respond(Form::of(&head.headers));
    }
    // Without an address, no proxy is trusted, and all callers without a token count as one.
    let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |Extension(ConnectInfo(peer))| peer.ip());
    head.extensions.insert(Peer(peer));
    if let Some(Extension(OriginalUri(original))) = original
        && let Some(prefix) = prefix(&original, &head.uri)
    {
        head.extensions.insert(Below(prefix.into()));
    }
    let mut response = next.run(Request::from_parts(head, body)).await;
    if is_head {
        call::without_body(&mut response);
    }
    response
}

/// Returns what the path of the whole service has before that of the router.
fn prefix<'a>(original: &'a Uri, own: &Uri) -> Option<&'a str> {
    let (original, own) = (original.path(), own.path());
    let prefix = original.strip_suffix(own).or_else(|| (own == "/").then_some(original))?;
    (!prefix.is_empty()).then_some(prefix)
}

/// The document of the API, and the one for the place where the router is nested.
pub(super) struct Documents {
    plain: Document,
    /// The last one that was asked for, with its place. A service has few places.
    nested: Mutex<Option<(String, Document)>>,
}

impl Documents {
    pub(super) fn new(plain: Document) -> Self {
        Self { plain, nested: Mutex::default() }
    }

    /// Answers a call for the document.
    pub(super) fn answer(&self, request: &Request) -> Response {
        let below = below(request.extensions());
        if below.is_empty() {
            return self.plain.answer(request.headers());
        }
        let document = {
            let mut nested = self.nested.lock().unwrap_or_else(PoisonError::into_inner);
            match &*nested {
                Some((place, document)) if place == below => document.clone(),
                _ => {
                    let document = self.plain.below(below);
                    *nested = Some((below.to_owned(), document.clone()));
                    document
                }
            }
        };
        document.answer(request.headers())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_router_is_what_is_before_its_paths() {
        let of = |original: &str, own: &str| {
            let (original, own): (Uri, Uri) = (original.parse().unwrap(), own.parse().unwrap());
            prefix(&original, &own).map(str::to_owned)
        };
        assert_eq!(of("/jobs/greet/7?wait=5", "/greet/7?wait=5").as_deref(), Some("/jobs"));
        assert_eq!(of("/t/42/jobs/greet", "/greet").as_deref(), Some("/t/42/jobs"));
        assert_eq!(of("http://a.example/jobs/greet", "/greet").as_deref(), Some("/jobs"));
        assert_eq!(of("/jobs", "/").as_deref(), Some("/jobs"));
        assert_eq!(of("/greet", "/greet"), None);
        // Middleware of the service has given the call another path.
        assert_eq!(of("/v1/hello", "/greet"), None);
    }
}
