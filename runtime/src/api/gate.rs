//! What is checked before a route sees a call: the name of the server, the token of the caller, and the token's rate.
//!
//! All of this is in the head of a call. So a caller that is refused has sent no body, holds no memory, and has cost the
//! store nothing.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::{HOST, HeaderName, ORIGIN, WWW_AUTHENTICATE};
use http::uri::Authority;
use http::{Extensions, HeaderValue, Version};

use super::problem::{Code, Form, Problem};
use super::{head, public_keys};
use crate::access::{Access, Auth, Caller, ClientAddress, Denied, Left, Options, Scope, Unauthenticated};
use postback_wire::names::metric;

/// The path below which the operator's API and the pages are. They have checks of their own, and no token of a caller
/// opens them.
const OF_OPERATOR: &str = "/_postback";
/// What the page of another site is told.
const OF_OTHER_PAGE: &str = "a page of another site may not call a server that asks for no token; add its origin to \
                             server.cors_origins, or make a token with `tokens new NAME`";
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The address from which a connection comes. Each call has it in its extensions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) IpAddr);

/// Lets a call through, or answers it with why it is refused.
pub(super) async fn pass(State(access): State<Arc<Access>>, mut request: Request, next: Next) -> Response {
    let form = Form::of(request.headers());
    match check(&access, &mut request) {
        Ok(None) => next.run(request).await,
        Ok(Some(left)) => {
            let mut response = next.run(request).await;
            show_rate(&mut response, left);
            response
        }
        Err(refusal) => {
            let is_http1 = request.version() < Version::HTTP_2;
            let mut response = refusal.problem.respond(form);
            if let Some(left) = refusal.left {
                show_rate(&mut response, left);
            }
            if refusal.closes && is_http1 {
                head::close(response.headers_mut());
            }
            response
        }
    }
}

/// Why a call is refused.
struct Refusal {
    problem: Problem,
    left: Option<Left>,
    /// Whether the connection ends after the answer.
    closes: bool,
}

impl From<Problem> for Box<Refusal> {
    fn from(problem: Problem) -> Self {
        Self::new(Refusal { problem, left: None, closes: false })
    }
}

/// Checks a call, and puts into its extensions who makes it. Returns what is left of the rate of its token, if the token
/// has one.
fn check(access: &Access, request: &mut Request) -> Result<Option<Left>, Box<Refusal>> {
    let path = request.uri().path();
    // Probes and receivers come by any name, and the answers tell nothing about anybody.
    if matches!(path, "/healthz" | "/readyz" | public_keys::PATH) {
        return Ok(None);
    }
    host(access, request)?;
    let is_of_operator = path.strip_prefix(OF_OPERATOR).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let options = access.options();
    let is_open = match path {
        "/openapi.json" => options.public.openapi,
        // The metrics are the operator's, too. `api/metrics` checks who asks for them.
        "/metrics" => true,
        _ => is_of_operator,
    };
    let peer = request.extensions().get().map_or(IpAddr::from([0; 4]), |Peer(peer)| *peer);
    let client = access.client_address(peer, request.headers());
    request.extensions_mut().insert(client);
    if is_of_operator {
        let over_https = access.over_https(peer, request.headers());
        request.extensions_mut().insert(over_https);
    }
    if is_open {
        return Ok(None);
    }
    let caller = access.caller(request.headers()).map_err(|why| unauthenticated(access, client, &why))?;
    if caller.token.is_none() && options.auth == Auth::Tokens && is_of_other_page(&options, request) {
        return Err(Problem::new(Code::Forbidden, OF_OTHER_PAGE).into());
    }
    let left = access.count(&caller);
    if let Some(left) = left.filter(|left| left.refused_for.is_some()) {
        metrics::counter!(metric::CALLS_OVER_RATE).increment(1);
        let what = format!("the token may make {} calls; try again later", left.rate);
        let problem = too_many(what, left.refused_for.unwrap_or_default());
        return Err(Box::new(Refusal { problem, left: Some(left), closes: false }));
    }
    request.extensions_mut().insert(caller);
    Ok(left)
}

/// Whether a page of another site makes this call, and changes something by it. A browser sends such calls without
/// asking first if they look like those of a form. As long as no token is needed, nothing else would stop them.
fn is_of_other_page(options: &Options, request: &Request) -> bool {
    let Some(origin) = request.headers().get(ORIGIN).filter(|_| !request.method().is_safe()) else { return false };
    let host = request.uri().authority().map(Authority::as_str);
    let host = host.or_else(|| request.headers().get(HOST)?.to_str().ok());
    let page = origin.to_str().ok().and_then(|origin| Some(origin.split_once("://")?.1));
    let is_own = page.is_some_and(|page| host.is_some_and(|host| page.eq_ignore_ascii_case(host)));
    !is_own && !options.cors_origins.contains(origin)
}

/// Returns who makes a call, if the caller may do this with requests of this route.
pub(super) fn permit(extensions: &Extensions, scope: Scope, route: &str) -> Result<Caller, Problem> {
    // Every call of a route has passed the check, which puts the caller there. If there is none, nobody may pass.
    let caller = extensions.get::<Caller>().ok_or_else(Problem::internal)?;
    caller.permits(scope, route).map_err(|why| denied(why, route))?;
    Ok(caller.clone())
}

/// Refuses a call by a name that is not the server's.
fn host(access: &Access, request: &Request) -> Result<(), Problem> {
    let header = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    let names = [request.uri().host(), header.map(without_port)];
    // A call of HTTP/1.0 may have no name, and a browser always sends one.
    match names.into_iter().flatten().find(|name| !name.is_empty() && !access.is_own_host(name)) {
        None => Ok(()),
        Some(name) => {
            let name = name.escape_debug();
            Err(Problem::new(
                Code::MisdirectedHost,
                format!("this server is not called {name}; call it by a known name, or add the name to server.hosts"),
            ))
        }
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

fn unauthenticated(access: &Access, client: ClientAddress, why: &Unauthenticated) -> Box<Refusal> {
    if let Some(wait) = access.failed(client, why) {
        // The connection ends, so that each further guess costs the caller a new one.
        let what = "too many calls without a valid token came from this address; try again later, with a token";
        return Box::new(Refusal { problem: too_many(what, wait), left: None, closes: true });
    }
    let challenge = match why {
        Unauthenticated::Missing => "Bearer realm=\"postback\"",
        _ => "Bearer realm=\"postback\", error=\"invalid_token\"",
    };
    let problem = Problem::new(Code::Unauthorized, why.to_string()).member("reason", why.reason());
    problem.header(WWW_AUTHENTICATE, HeaderValue::from_static(challenge)).into()
}

fn denied(why: Denied, route: &str) -> Problem {
    let missing = "Bearer realm=\"postback\", error=\"insufficient_scope\"";
    let (what, challenge) = match why {
        Denied::Route => (format!("the token is not for {route}"), missing.to_owned()),
        Denied::Scope(scope) => (
            format!("the token does not have the scope `{scope}`, which this call needs"),
            format!("{missing}, scope=\"{scope}\""),
        ),
    };
    let problem = Problem::new(Code::Forbidden, what);
    let problem = match why {
        Denied::Route => problem.member("route", route),
        Denied::Scope(scope) => problem.member("scope", scope.as_str()),
    };
    match HeaderValue::try_from(challenge) {
        Ok(challenge) => problem.header(WWW_AUTHENTICATE, challenge),
        Err(_) => problem,
    }
}

/// Makes the answer to a caller that has called too often, and should wait.
fn too_many(what: impl Into<String>, wait: Duration) -> Problem {
    let seconds = whole_seconds(wait).max(1);
    Problem::new(Code::RateLimited, what).retry_after(u32::try_from(seconds).unwrap_or(u32::MAX))
}

/// Returns a time in seconds, rounded up.
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// Adds the headers of draft-ietf-httpapi-ratelimit-headers-10 to an answer.
fn show_rate(response: &mut Response, left: Left) {
    let Left { rate, calls, full_after, refused_for } = left;
    let policy = format!("\"rate\";q={};w={}", rate.calls, rate.window.as_secs());
    let limit = format!("\"rate\";r={calls};t={}", whole_seconds(refused_for.unwrap_or(full_after)));
    for (name, value) in [(RATE_LIMIT_POLICY, policy), (RATE_LIMIT, limit)] {
        if let Ok(value) = HeaderValue::try_from(value) {
            // The answer may already have the headers of another limit. Both headers are lists.
            response.headers_mut().append(name, value);
        }
    }
}

/// Adds the headers of another limit than the rate to an answer.
pub(super) fn with_limit(problem: Problem, policy: &str, limit: &str) -> Problem {
    match (HeaderValue::try_from(policy), HeaderValue::try_from(limit)) {
        (Ok(policy), Ok(limit)) => problem.header(RATE_LIMIT_POLICY, policy).header(RATE_LIMIT, limit),
        _ => problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_taken_without_its_port() {
        for (host, name) in [("a:80", "a"), ("a", "a"), ("a:", "a"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]")] {
            assert_eq!(without_port(host), name);
        }
    }
}
