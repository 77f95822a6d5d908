//! The error answers of the API: one line of text, as in the Cortex API, or a problem document (RFC 9457) for a client
//! that accepts one.

use axum::body::Body;
use axum::response::Response;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderName, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::handler::PayloadError;

const PROBLEM_JSON: &str = "application/problem+json";

/// The format of an error answer: text or JSON. The format is read from the request's headers at the start of an HTTP
/// call, so that the headers can be dropped before the answer is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    Json,
}

impl Form {
    /// Returns the format that the client asks for in its header `accept`.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let accepts = |value: &HeaderValue| value.to_str().is_ok_and(|text| text.contains(PROBLEM_JSON));
        if headers.get_all(ACCEPT).iter().any(accepts) { Self::Json } else { Self::Text }
    }
}

/// An error answer to an HTTP call. `detail` says what was wrong and what to do.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    status: StatusCode,
    detail: String,
    /// A code for client programs. `None` if the HTTP status alone tells a client what to do.
    code: Option<&'static str>,
    /// The value of the header `retry-after`, in seconds.
    retry_after: Option<u16>,
    /// A header that tells the client what the route accepts, such as the content type of the body.
    accepts: Option<(HeaderName, &'static str)>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), code: None, retry_after: None, accepts: None }
    }

    pub(super) fn unknown_path(path: &str) -> Self {
        let path = path.escape_debug();
        Self::new(
            StatusCode::NOT_FOUND,
            format!("nothing is served at {path}; the program's start lines list its routes"),
        )
    }

    pub(super) fn unknown_id(id: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("id {} not found", id.escape_debug()))
    }

    pub(super) fn method(method: &Method) -> Self {
        let what = format!(
            "{method} is not served at this path; a route takes POST, and GET and DELETE with an id behind its path"
        );
        Self::new(StatusCode::METHOD_NOT_ALLOWED, what)
    }

    pub(super) fn too_large(limit: usize) -> Self {
        let what = format!("the body is larger than the {limit} bytes that are allowed (server.max_payload)");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, what)
    }

    pub(super) fn unavailable(detail: impl Into<String>) -> Self {
        Self { retry_after: Some(1), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }

    /// Makes the answer to a new request while the server prepares to stop. The answer says that the server stops soon
    /// and accepts no new requests.
    pub(super) fn draining() -> Self {
        let what = "the node is draining: it accepts no new requests, and stops when its runs are over; try again, at \
                    another node if there is one";
        Self { code: Some("draining"), ..Self::unavailable(what) }
    }

    pub(super) fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "an internal error of the server; its log says more")
    }

    /// Makes the HTTP answer, in the format that the client accepts.
    pub(super) fn respond(self, form: Form) -> Response {
        let (content_type, body) = if form == Form::Json {
            let title = self.status.canonical_reason().unwrap_or_default();
            let mut body = serde_json::json!({
                "type": "about:blank", "title": title, "status": self.status.as_u16(), "detail": self.detail,
            });
            if let Some(code) = self.code {
                body["code"] = code.into();
            }
            (PROBLEM_JSON, body.to_string())
        } else {
            ("text/plain; charset=utf-8", format!("error: {}\n", self.detail))
        };
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        if let Some((name, value)) = self.accepts {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

impl From<PayloadError> for Problem {
    fn from(error: PayloadError) -> Self {
        let (status, accepts) = match error {
            PayloadError::NoContentType | PayloadError::ContentType { .. } => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, Some((ACCEPT, "application/json")))
            }
            PayloadError::Encoding { .. } => (StatusCode::UNSUPPORTED_MEDIA_TYPE, Some((ACCEPT_ENCODING, "identity"))),
            PayloadError::Empty | PayloadError::NotText(_) | PayloadError::Syntax(_) => (StatusCode::BAD_REQUEST, None),
            PayloadError::Field { .. } => (StatusCode::UNPROCESSABLE_ENTITY, None),
        };
        Self { accepts, ..Self::new(status, error.to_string()) }
    }
}
