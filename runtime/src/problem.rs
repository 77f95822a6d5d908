//! The error answers of the API: one line of text, as in the Cortex API, or a problem document (RFC 9457) for a client
//! that accepts one.

mod code;

use axum::body::Body;
use axum::response::Response;
use http::header::{ACCEPT, ACCEPT_ENCODING, ALLOW, CONTENT_RANGE, CONTENT_TYPE, HeaderName, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde_json::Value;

pub(crate) use self::code::Code;
use crate::handler::{FORM, MULTIPART, PayloadError};
use postback_wire::id::RequestId;
use postback_wire::names::metric;

pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// The format of an error answer: text or JSON. The format is read from the request's headers at the start of an HTTP
/// call, so that the headers can be dropped before the answer is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Text,
    Json,
}

impl Form {
    /// Returns the format that the client asks for in its header `accept`.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let accepts = |value: &HeaderValue| value.to_str().is_ok_and(|text| text.contains(PROBLEM_JSON));
        if headers.get_all(ACCEPT).iter().any(accepts) { Self::Json } else { Self::Text }
    }
}

/// An error answer to an HTTP call. `detail` says what was wrong and what to do.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    code: Code,
    detail: String,
    /// The value of the header `retry-after`, in seconds.
    retry_after: Option<u32>,
    /// More headers of the answer, such as what the route accepts.
    headers: Vec<(HeaderName, HeaderValue)>,
    /// More members of the problem document, such as the name of the wrong header.
    members: Vec<(&'static str, Value)>,
}

impl Problem {
    /// Returns the status of the answer.
    pub(crate) fn status(&self) -> StatusCode {
        self.code.status()
    }

    /// Returns what was wrong, and what to do.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        // Every error with this status is over soon, so the client is told to try again.
        let retry_after = (code.status() == StatusCode::SERVICE_UNAVAILABLE).then_some(1);
        Self { code, detail: detail.into(), retry_after, headers: Vec::new(), members: Vec::new() }
    }

    /// Sets the header `retry-after`: the number of seconds after which the client may try again.
    pub(crate) fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// Adds a header to the answer.
    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Adds a member to the problem document.
    pub(crate) fn member(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.members.push((name, value.into()));
        self
    }

    /// Makes the answer to a call with a wrong header. `fault` follows the name of the header in a sentence.
    pub(crate) fn invalid_header(name: &'static str, fault: impl std::fmt::Display) -> Self {
        Self::new(Code::InvalidHeader, format!("the header {name} {fault}")).member("header", name)
    }

    /// Makes the answer to a call with a wrong query parameter. `expected` says which values the parameter takes.
    pub(crate) fn invalid_parameter(name: &'static str, expected: impl std::fmt::Display) -> Self {
        Self::new(Code::InvalidParameter, format!("the query parameter `{name}` takes {expected}"))
            .member("parameter", name)
    }

    /// Makes the answer for a path at which nothing is served. `near` is the path that the client has probably meant.
    pub(crate) fn unknown_path(path: &str, near: Option<&str>) -> Self {
        let path = path.escape_debug();
        let hint = match near {
            Some(near) => format!("use {near}"),
            None => "the program's start lines list its routes".to_owned(),
        };
        Self::new(Code::NotFound, format!("nothing is served at {path}; {hint}"))
    }

    pub(crate) fn percent_encoding() -> Self {
        let what = "the path has a % that is not followed by two hexadecimal digits; write the character % as %25";
        Self::new(Code::MalformedRequest, what)
    }

    pub(crate) fn unknown_id(id: &str) -> Self {
        Self::new(Code::NotFound, format!("id {} not found", id.escape_debug()))
    }

    /// Makes the answer for a method that a path does not take. `methods` lists the methods that the path takes.
    pub(crate) fn method(method: &Method, methods: &'static str) -> Self {
        let what = format!("{method} is not served at this path, which takes {methods}");
        Self::new(Code::MethodNotAllowed, what).header(ALLOW, HeaderValue::from_static(methods))
    }

    /// Makes the answer for the result of a request that is not over.
    pub(crate) fn not_finished(id: &RequestId, status: &str) -> Self {
        let what =
            format!("id {id} is {status}, so there is no result yet; try again, or add ?wait=N to wait N seconds");
        Self::new(Code::NotFinished, what).retry_after(1)
    }

    /// Makes the answer for the result of a request that has ended without one.
    pub(crate) fn no_result(id: &RequestId, status: &str) -> Self {
        Self::new(
            Code::NoResult,
            format!("id {id} has no result, because it is {status}; GET without /result says more"),
        )
    }

    /// Makes the answer for a range that is not within a result of this length, in bytes.
    pub(crate) fn range(length: usize) -> Self {
        let what = format!("the header range asks for bytes that the result does not have; it has {length} bytes");
        let problem = Self::new(Code::RangeNotSatisfiable, what);
        match HeaderValue::try_from(format!("bytes */{length}")) {
            Ok(length) => problem.header(CONTENT_RANGE, length),
            Err(_) => problem,
        }
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        let what = format!("the body is larger than the {limit} bytes that are allowed (server.max_payload)");
        Self::new(Code::PayloadTooLarge, what)
    }

    /// Makes the answer to a new request while the server prepares to stop. The answer says that the server stops soon
    /// and accepts no new requests.
    pub(crate) fn draining() -> Self {
        let what = "the server is draining: it accepts no new requests, and stops when its runs are over; try again, at \
                    another server if there is one";
        Self::new(Code::Draining, what)
    }

    pub(crate) fn internal() -> Self {
        Self::new(Code::InternalError, "an internal error of the server; its log says more")
    }

    /// Makes the HTTP answer, in the format that the client accepts.
    pub(crate) fn respond(self, form: Form) -> Response {
        metrics::counter!(metric::ERROR_ANSWERS, "code" => self.code.text()).increment(1);
        let (content_type, body) = if form == Form::Json {
            let mut body = serde_json::json!({
                "type": self.code.url(), "title": self.code.title(), "status": self.code.status().as_u16(),
                "detail": self.detail, "code": self.code.text(),
            });
            for (name, value) in self.members {
                body[name] = value;
            }
            (PROBLEM_JSON, body.to_string())
        } else {
            ("text/plain; charset=utf-8", format!("error: {}\n", self.detail))
        };
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.code.status();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        response.headers_mut().extend(self.headers);
        response
    }
}

impl From<PayloadError> for Problem {
    fn from(error: PayloadError) -> Self {
        let (code, accepts) = match &error {
            PayloadError::NoContentType { wanted } | PayloadError::ContentType { wanted, .. } => {
                let accepts = if [FORM, MULTIPART].contains(wanted) { wanted } else { "application/json" };
                (Code::UnsupportedMediaType, Some((ACCEPT, accepts)))
            }
            PayloadError::Encoding { .. } => (Code::UnsupportedContentEncoding, Some((ACCEPT_ENCODING, "gzip, zstd"))),
            PayloadError::Empty | PayloadError::NotText(_) | PayloadError::Syntax(_) | PayloadError::Parts(_) => {
                (Code::MalformedPayload, None)
            }
            PayloadError::Field { .. } => (Code::InvalidPayload, None),
            PayloadError::Query { .. } => (Code::InvalidParameter, None),
        };
        let problem = Self::new(code, error.to_string());
        let problem = match error {
            PayloadError::Query { parameter: Some(name), .. } => problem.member("parameter", name),
            _ => problem,
        };
        match accepts {
            Some((name, value)) => problem.header(name, HeaderValue::from_static(value)),
            None => problem,
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    async fn document(problem: Problem) -> Value {
        let response = problem.respond(Form::Json);
        serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
    }

    #[tokio::test]
    async fn each_document_has_the_members_of_its_code() {
        for code in Code::ALL {
            let document = document(Problem::new(*code, "what was wrong").member("more", 1)).await;
            assert_eq!(document["code"], code.text());
            assert_eq!(document["status"], code.status().as_u16());
            assert!(document["type"].as_str().unwrap().ends_with(&format!("#{}", code.text())), "{document}");
            assert_eq!((&document["detail"], &document["more"]), (&"what was wrong".into(), &1.into()));
        }
    }

    #[test]
    fn a_client_that_gets_503_is_told_when_to_try_again() {
        for code in Code::ALL.iter().filter(|code| code.status() == 503) {
            let response = Problem::new(*code, "busy").respond(Form::Text);
            assert_eq!(response.headers()[RETRY_AFTER], "1", "{code:?}");
        }
        let later = Problem::new(Code::RateLimited, "too often").retry_after(7).respond(Form::Text);
        assert_eq!(later.headers()[RETRY_AFTER], "7");
        let wrong = Problem::invalid_header("prefer", "is not text").respond(Form::Text);
        assert!(!wrong.headers().contains_key(RETRY_AFTER));
    }
}
