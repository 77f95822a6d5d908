//! The answers of the operator's API: JSON, and problem documents (RFC 9457) for errors.

use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::problem::{self, Code, Form};
use postback_store::{Bound, Error};
use postback_wire::line::{Causes, Escaped};

/// The largest body of a call, in bytes. A list of 1,000 ids needs fewer.
const MAX_BODY: usize = 256 << 10;
/// The longest time within which the body of a call must arrive.
const BODY_TIME: Duration = Duration::from_secs(10);

/// The answer to a call, or the reason why the call has failed.
pub(super) type Answer<T> = Result<Json<T>, Problem>;

/// An answer in JSON.
pub(super) struct Json<T>(pub(super) T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(mut text) => {
                text.push(b'\n');
                answer(StatusCode::OK, "application/json", text)
            }
            Err(error) => {
                tracing::error!("an answer of the operator's API cannot be written: {error}");
                Problem::internal().into_response()
            }
        }
    }
}

fn answer(status: StatusCode, content_type: &'static str, text: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The reason why a call has failed. In contrast to the public API, it is always a problem document.
#[derive(Debug)]
pub(super) struct Problem(problem::Problem);

impl Problem {
    pub(super) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self(problem::Problem::new(code, detail))
    }

    /// A query parameter, or a member of the body, is wrong. `parameter` is its name.
    pub(super) fn invalid(parameter: &str, detail: impl Into<String>) -> Self {
        Self(problem::Problem::new(Code::InvalidParameter, detail).member("parameter", parameter))
    }

    /// The state of a row does not allow the change.
    pub(super) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(Code::Conflict, detail)
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(Code::NotFound, detail)
    }

    pub(super) fn unknown_path(path: &str) -> Self {
        let path = path.escape_debug();
        Self::not_found(format!("the operator's API has no path {path}; its document /openapi.json lists the paths"))
    }

    pub(super) fn method(method: &Method) -> Self {
        let detail = format!("{method} is not served at this path; the header `allow` lists what is");
        Self::new(Code::MethodNotAllowed, detail)
    }

    /// The call took too long. `changes`: whether it may have changed something.
    pub(super) fn too_slow(time: Duration, changes: bool) -> Self {
        let time = time.as_secs();
        if changes {
            let detail =
                format!("the call took longer than {time} s; it may have been done; look before you repeat it");
            return Self::new(Code::AcceptanceUnknown, detail);
        }
        Self::new(Code::Overloaded, format!("the call took longer than {time} s; try again"))
    }

    pub(super) fn unauthorized() -> Self {
        let detail = "this call is for the operator; it needs the header `authorization: Bearer TOKEN` with the value of \
                      server.admin_token; a token of a caller does not open it";
        let realm = HeaderValue::from_static("Bearer realm=\"postback operator\"");
        Self(problem::Problem::new(Code::Unauthorized, detail).header(WWW_AUTHENTICATE, realm))
    }

    /// Too many calls without the token came from this address.
    pub(super) fn too_often(wait: Duration) -> Self {
        let detail = "too many calls without a valid token came from this address; try again later, with the token";
        let seconds = u16::try_from(wait.as_secs().saturating_add(1)).unwrap_or(u16::MAX);
        Self(problem::Problem::new(Code::RateLimited, detail).retry_after(seconds.into()))
    }

    pub(super) fn internal() -> Self {
        Self(problem::Problem::internal())
    }
}

impl From<Problem> for problem::Problem {
    fn from(Problem(problem): Problem) -> Self {
        problem
    }
}

impl From<problem::Problem> for Problem {
    fn from(problem: problem::Problem) -> Self {
        Self(problem)
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let code = match error {
            Error::Refused(Bound::Disk { .. }) => Code::StoreFull,
            Error::Full | Error::Refused(_) => Code::QueueFull,
            Error::Closed => Code::Draining,
            Error::Unwritable(_) => Code::InternalError,
            Error::Backend(_) => Code::StoreUnavailable,
        };
        Self::new(code, Causes(&error).to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        self.0.respond(Form::Json)
    }
}

/// Reads the JSON body of a call. An empty body is read as an empty object.
pub(super) async fn read<T: DeserializeOwned>(body: Body) -> Result<T, Problem> {
    let read = tokio::time::timeout(BODY_TIME, Limited::new(body, MAX_BODY).collect()).await;
    let bytes = match read {
        Err(_) => {
            return Err(Problem::new(
                Code::BodyTooSlow,
                format!("the body did not arrive within {} s", BODY_TIME.as_secs()),
            ));
        }
        Ok(Err(error)) if error.downcast_ref::<LengthLimitError>().is_some() => {
            let detail = format!("the body is larger than {MAX_BODY} bytes");
            return Err(Problem::new(Code::PayloadTooLarge, detail));
        }
        Ok(Err(_)) => return Err(Problem::new(Code::MalformedPayload, "the body ended before all of it came")),
        Ok(Ok(collected)) => collected.to_bytes(),
    };
    let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
    serde_json::from_slice(text).map_err(|error| {
        Problem::new(Code::MalformedPayload, format!("the body is not as expected: {}", Escaped(&error.to_string())))
    })
}
