//! Accepts requests that the operator or the program itself makes. They pass the checks of a `POST` to the route, except
//! those of the token.

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http::header::{COOKIE, HeaderName, ORIGIN, REFERER};
use http::{HeaderMap, header};

use super::submit::Posted;
use super::{Api, submit, target as targets};
use crate::access::Caller;
use crate::handler::Route;
use crate::problem::Problem;
use postback_store::NewRequest;
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

/// Gives requests of the operator and of the program to the server. Their owner is nobody's token: no caller with a token
/// sees them.
#[derive(Clone)]
pub(crate) struct Submitter(Arc<Api>);

impl Submitter {
    pub(super) fn new(api: Arc<Api>) -> Self {
        Self(api)
    }

    /// Reads a body, checks it and the headers as for a `POST` to this target, which is the path of a route and perhaps a
    /// query, and stores the request.
    pub(crate) async fn submit(&self, target: &str, mut headers: HeaderMap, body: Body) -> Result<RequestId, Problem> {
        let (route, query) = self.route(target)?;
        for name in OF_PAGE {
            headers.remove(name);
        }
        let posted = Posted { route, caller: &Caller::default(), base: &route.path, query };
        let (id, _) = submit::read_and_store(&self.0, posted, headers, body, false).await?;
        Ok(id)
    }

    /// Makes a request, and checks it as for a `POST` to this target. Does not store it.
    pub(crate) async fn check(&self, target: &str, headers: HeaderMap, body: Bytes) -> Result<NewRequest, Problem> {
        let (route, query) = self.route(target)?;
        let posted = Posted { route, caller: &Caller::default(), base: &route.path, query };
        submit::read_and_check(&self.0, posted, headers, Body::from(body)).await
    }

    fn route<'t>(&self, target: &'t str) -> Result<(&Arc<Route>, &'t str), Problem> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let routes = &self.0.routes;
        let route = routes.get(path).ok_or_else(|| Problem::unknown_path(path, targets::near(routes, path).as_deref()));
        Ok((route?, query))
    }
}
