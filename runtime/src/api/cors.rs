//! Cross-origin calls: which web pages may call the API from a browser.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use http::header::{
    ACCESS_CONTROL_REQUEST_METHOD, CONTENT_RANGE, ETAG, LOCATION, ORIGIN, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{HeaderName, Method};
use tower::{ServiceExt as _, service_fn};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use crate::access::{Access, Origins};

/// How long a browser may keep the answer to a preflight.
const MAX_AGE: Duration = Duration::from_mins(10);

/// Returns a router that answers the preflights of allowed pages, and lets these pages read the answers of `router`. The
/// settings may change while the server runs. No cookie is involved, so a page needs a token like any other caller.
pub(super) fn with_cors(router: Router, access: Arc<Access>) -> Router {
    let of_access = Arc::clone(&access);
    let origins = AllowOrigin::predicate(move |origin, _| of_access.options().cors_origins.contains(origin));
    let exposed = [
        LOCATION,
        RETRY_AFTER,
        WWW_AUTHENTICATE,
        ETAG,
        CONTENT_RANGE,
        HeaderName::from_static("preference-applied"),
        HeaderName::from_static("ratelimit"),
        HeaderName::from_static("ratelimit-policy"),
    ];
    let layer = CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::DELETE])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(exposed)
        .max_age(MAX_AGE);
    let for_pages = router.clone().layer(layer);
    let choose = service_fn(move |request: Request| {
        // Calls that no page made cost nothing more.
        let is_of_page = is_of_page(&request) && access.options().cors_origins != Origins::None;
        let chosen = if is_of_page { for_pages.clone() } else { router.clone() };
        async move { Ok::<Response, Infallible>(answered(chosen, request).await) }
    });
    Router::new().fallback_service(choose)
}

async fn answered(router: Router, request: Request) -> Response {
    let Ok(response) = router.oneshot(request).await;
    response
}

/// Whether a page makes this call from a browser. An `OPTIONS` call is a preflight only if it names a method.
fn is_of_page(request: &Request) -> bool {
    let headers = request.headers();
    headers.contains_key(ORIGIN)
        && (request.method() != Method::OPTIONS || headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD))
}
