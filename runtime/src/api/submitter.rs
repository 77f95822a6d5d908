//! Accepts requests that the operator makes. They pass the checks of a `POST` to the route, except those of the token.

use std::sync::Arc;

use axum::body::Body;
use http::header::{COOKIE, HeaderName, ORIGIN, REFERER};
use http::{HeaderMap, header};

use super::submit::Posted;
use super::{Api, submit, target as targets};
use crate::access::Caller;
use crate::problem::Problem;
use postback_wire::id::RequestId;

/// The headers that say something about the page in which the operator works. The handler does not get them.
const OF_PAGE: [HeaderName; 9] = [
    header::AUTHORIZATION,
    COOKIE,
    ORIGIN,
    REFERER,
    HeaderName::from_static("x-postback-page"),
    HeaderName::from_static("sec-fetch-dest"),
    HeaderName::from_static("sec-fetch-mode"),
    HeaderName::from_static("sec-fetch-site"),
    HeaderName::from_static("sec-fetch-user"),
];

/// Gives requests of the operator to the server.
#[derive(Clone)]
pub(crate) struct Submitter(Arc<Api>);

impl Submitter {
    pub(super) fn new(api: Arc<Api>) -> Self {
        Self(api)
    }

    /// Reads a body, checks it and the headers as for a `POST` to this target, which is the path of a route and perhaps a
    /// query, and stores the request. Its owner is nobody's token: no caller with a token sees it.
    pub(crate) async fn submit(&self, target: &str, mut headers: HeaderMap, body: Body) -> Result<RequestId, Problem> {
        let Self(api) = self;
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let Some(route) = api.routes.get(path) else {
            return Err(Problem::unknown_path(path, targets::near(&api.routes, path).as_deref()));
        };
        for name in OF_PAGE {
            headers.remove(name);
        }
        let posted = Posted { route, caller: &Caller::default(), base: &route.path, query };
        let (id, _) = submit::read_and_store(api, posted, headers, body, false).await?;
        Ok(id)
    }
}
