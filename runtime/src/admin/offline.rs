//! Answers reads of the operator's API from the store of a stopped server, for the commands. So a command prints the same
//! whether the server runs or not.

use axum::response::IntoResponse;
use bytes::Bytes;
use http::{Method, StatusCode, Uri};
use http_body_util::BodyExt as _;

use super::answer::Problem;
use super::{deliveries, requests};
use postback_store::Store;
use postback_wire::time::Clock;

/// The store of a stopped server.
pub(super) struct Offline {
    store: Store,
    clock: Clock,
}

impl Offline {
    pub(super) fn new(store: Store) -> Self {
        Self { store, clock: Clock::system() }
    }

    /// Answers a call. Only lists of requests and of deliveries, and single ones, are served.
    pub(super) async fn answer(&self, method: &Method, target: &str) -> (StatusCode, Bytes) {
        let Ok(uri) = target.parse::<Uri>() else { return body_of(Problem::unknown_path(target)).await };
        let Self { store, clock } = self;
        if method != Method::GET {
            return body_of(Problem::method(method)).await;
        }
        match uri.path() {
            "/requests" => body_of(requests::page(store, clock, &uri).await).await,
            "/deliveries" => body_of(deliveries::page(store, clock, &uri).await).await,
            path => match (path.strip_prefix("/requests/"), path.strip_prefix("/deliveries/")) {
                (Some(id), _) => body_of(requests::detail(store, id).await).await,
                (_, Some(id)) => body_of(deliveries::detail(store, id).await).await,
                (None, None) => body_of(Problem::unknown_path(path)).await,
            },
        }
    }
}

async fn body_of(answer: impl IntoResponse) -> (StatusCode, Bytes) {
    let (head, body) = answer.into_response().into_parts();
    // The body is in memory already, so reading it does not fail.
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    (head.status, body)
}
