//! Answers calls of the operator's API from the store of a stopped server, for the commands. So a command prints the
//! same, and changes the same, whether the server runs or not.

use axum::response::IntoResponse;
use bytes::Bytes;
use http::{Method, StatusCode, Uri};
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;

use super::answer::Problem;
use super::replays::Replays;
use super::{deliveries, names, requests};
use crate::handler::Routes;
use postback_store::Store;
use postback_store::shutdown::Shutdown;
use postback_wire::time::Clock;

/// Who makes the changes of a command while the server is stopped, in the audit.
pub(crate) const BY: &str = "command line";

/// The store of a stopped server.
pub(super) struct Offline {
    store: Store,
    clock: Clock,
    /// The routes of the program. A cancelled request asks its handler for webhooks, and no other is repeated.
    routes: Routes,
    replays: Replays,
}

impl Offline {
    pub(super) fn new(store: Store, routes: Routes) -> Self {
        let clock = Clock::system();
        let replays = Replays::new(store.clone(), clock.clone(), Shutdown::new());
        Self { store, clock, routes, replays }
    }

    /// Answers a call. What commands call is served, except for what only a running server knows.
    pub(super) async fn answer(&self, method: &Method, target: &str, body: &[u8]) -> (StatusCode, Bytes) {
        let Ok(uri) = target.parse::<Uri>() else { return body_of(Problem::unknown_path(target)).await };
        let path: Vec<&str> = uri.path().split('/').skip(1).collect();
        let Self { store, clock, routes, replays } = self;
        match (method, path.as_slice()) {
            (&Method::GET, ["requests"]) => body_of(requests::page(store, clock, &uri).await).await,
            (&Method::GET, ["requests", id]) => body_of(requests::detail(store, id).await).await,
            (&Method::POST, ["requests", id, "cancel"]) => {
                body_of(requests::cancel_as(store, clock, routes, &BY, id).await).await
            }
            (&Method::POST, ["requests", id, "retry"]) => {
                body_of(requests::retry_as(store, clock, routes, &BY, id).await).await
            }
            (&Method::GET, ["deliveries"]) => body_of(deliveries::page(store, clock, &uri).await).await,
            (&Method::GET, ["deliveries", id]) => body_of(deliveries::detail(store, id).await).await,
            (&Method::GET, ["replays", id]) => body_of(replays.shown(id)).await,
            (&Method::POST, ["replays"]) => match parsed(body) {
                Ok(selection) => body_of(replays.start_as(&BY, selection).await).await,
                Err(problem) => body_of(problem).await,
            },
            (&Method::GET, ["endpoints"]) => body_of(names::endpoints_page(store, &uri).await).await,
            (&Method::POST, [what @ ("endpoints" | "origins"), change @ ("enable" | "disable")]) => {
                let name = match parsed(body) {
                    Ok(name) => name,
                    Err(problem) => return body_of(problem).await,
                };
                match (*what, *change) {
                    ("origins", "enable") => body_of(names::enable_origin_as(store, &BY, name).await).await,
                    ("origins", _) => body_of(names::disable_origin_as(store, &BY, name).await).await,
                    (_, "enable") => body_of(names::enable_endpoint_as(store, &BY, name).await).await,
                    _ => body_of(names::disable_endpoint_as(store, &BY, name).await).await,
                }
            }
            _ => body_of(Problem::unknown_path(uri.path())).await,
        }
    }
}

fn parsed<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| Problem::invalid("body", error.to_string()))
}

async fn body_of(answer: impl IntoResponse) -> (StatusCode, Bytes) {
    let (head, body) = answer.into_response().into_parts();
    // The body is in memory already, so reading it does not fail.
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    (head.status, body)
}
