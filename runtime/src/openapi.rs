//! What the OpenAPI documents of the program have in common: how a document is made and served, and how it describes
//! problems and tokens.

mod schemas;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, StatusCode};
use ring::digest::{SHA256, digest};
use serde_json::{Map, Value, json};
use utoipa::openapi::content::{Content, ContentBuilder};
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::response::{Response as Described, ResponseBuilder};
use utoipa::openapi::schema::{ObjectBuilder, Ref, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{OpenApi, RefOr};

pub(crate) use self::schemas::Schemas;
use crate::problem::{Code, PROBLEM_JSON};

/// The name of the security scheme in every document.
pub(crate) const TOKEN: &str = "token";
/// The name of the schema of a problem document.
pub(crate) const PROBLEM: &str = "PostbackProblem";
/// The number of bytes of the document's digest that its entity tag shows.
const TAG_BYTES: usize = 16;

/// A finished OpenAPI document. It is made once, when the server starts.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    text: Bytes,
    etag: HeaderValue,
}

impl Document {
    /// Makes the text of a document. `schemas` are the components to which it refers.
    ///
    /// The schemas are JSON, and not of the type that utoipa has for schemas, because that type cannot hold all that
    /// JSON Schema allows.
    pub(crate) fn new(document: &OpenApi, schemas: Map<String, Value>) -> Self {
        // A document always becomes JSON: the keys of all its maps are texts.
        let mut document = serde_json::to_value(document).unwrap_or_default();
        document["components"]["schemas"] = Value::Object(schemas);
        Self::of(&document)
    }

    /// Returns the same document for an API whose paths are below this path.
    pub(crate) fn below(&self, path: &str) -> Self {
        let mut document: Value = serde_json::from_slice(&self.text).unwrap_or_default();
        document["servers"] = json!([{ "url": path }]);
        Self::of(&document)
    }

    /// Makes the text of any JSON.
    pub(crate) fn of(document: &Value) -> Self {
        let text = format!("{document:#}\n");
        let mut etag = "\"".to_owned();
        for byte in &digest(&SHA256, text.as_bytes()).as_ref()[..TAG_BYTES] {
            // The result is ignored, because writing to a `String` cannot fail.
            let _ = write!(etag, "{byte:02x}");
        }
        etag.push('"');
        let etag = HeaderValue::try_from(etag).unwrap_or_else(|_| HeaderValue::from_static("\"\""));
        Self { text: Bytes::from(text), etag }
    }

    /// Returns the text of the document, which is JSON and ends with a line break.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.text).unwrap_or_default()
    }

    /// Answers an HTTP `GET` for the document. If the client has this document already, the answer has no body.
    pub(crate) fn answer(&self, headers: &HeaderMap) -> Response {
        let mut response = if self.is_known(headers) {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response
        } else {
            let mut response = Response::new(Body::from(self.text.clone()));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        };
        response.headers_mut().insert(ETAG, self.etag.clone());
        response
    }

    /// Whether the client names the entity tag of this document in its header `if-none-match`.
    fn is_known(&self, headers: &HeaderMap) -> bool {
        let values = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        let mut tags = values.flat_map(|value| value.split(',')).map(|tag| tag.trim().trim_start_matches("W/"));
        tags.any(|tag| tag == "*" || self.etag == tag)
    }
}

/// Describes the way in which a client sends its token. `what` says which token the API takes.
pub(crate) fn bearer(what: &str) -> SecurityScheme {
    let http = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("pbk").description(Some(what));
    SecurityScheme::Http(http.build())
}

/// The content of an answer whose schema is this component.
pub(crate) fn json_of(schema: &str) -> Content {
    Content::new(Some(Ref::from_schema_name(schema)))
}

/// The content of an answer that is plain text.
pub(crate) fn plain_text() -> Content {
    Content::new(Some(ObjectBuilder::new().schema_type(Type::String)))
}

/// Describes a header of an answer.
pub(crate) fn header(what: &str, value: Type) -> Header {
    HeaderBuilder::new().schema(ObjectBuilder::new().schema_type(value)).description(Some(what)).build()
}

/// Describes the errors that a call may answer: one response for each status, with an example for each code.
pub(crate) fn problems(codes: &[Code]) -> BTreeMap<u16, Described> {
    let mut by_status = BTreeMap::<u16, Vec<Code>>::new();
    for code in codes {
        by_status.entry(code.status().as_u16()).or_default().push(*code);
    }
    by_status.into_iter().map(|(status, codes)| (status, problem(&codes))).collect()
}

fn problem(codes: &[Code]) -> Described {
    let lines: Vec<_> = codes.iter().map(|code| format!("`{}`: {}.", code.text(), code.title())).collect();
    let examples = codes.iter().map(|code| {
        let example = ExampleBuilder::new().value(Some(example(*code)));
        (code.text().to_owned(), RefOr::T(example.build()))
    });
    let document = ContentBuilder::new().schema(Some(Ref::from_schema_name(PROBLEM))).examples_from_iter(examples);
    let mut response = ResponseBuilder::new()
        .description(lines.join("\n"))
        .content("text/plain", plain_text())
        .content(PROBLEM_JSON, document.build());
    for (name, what, value) in codes.iter().filter_map(|code| header_of(*code)) {
        response = response.header(name, header(what, value));
    }
    response.build()
}

fn example(code: Code) -> Value {
    json!({
        "type": code.url(), "title": code.title(), "status": code.status().as_u16(), "code": code.text(),
        "detail": "what was wrong with this call, and what to do",
    })
}

/// The header that every answer with the status of this code has.
fn header_of(code: Code) -> Option<(&'static str, &'static str, Type)> {
    match code.status() {
        StatusCode::UNAUTHORIZED => Some(("WWW-Authenticate", "What is wrong with the token.", Type::String)),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            Some(("Retry-After", "The number of seconds after which the client may try again.", Type::Integer))
        }
        _ => None,
    }
}

/// The schema of a problem document, for the components of a document.
pub(crate) fn problem_schema() -> Value {
    let codes: Vec<_> = Code::ALL.iter().map(|code| code.text()).collect();
    json!({
        "type": "object",
        "description": "A problem document (RFC 9457), for clients that accept `application/problem+json`. Others get \
                        one line of text.",
        "required": ["type", "title", "status", "detail", "code"],
        "properties": {
            "type": {"type": "string", "format": "uri", "description": "A link to the description of the code."},
            "title": {"type": "string", "description": "The error in a few words, the same for each code."},
            "status": {"type": "integer", "description": "The HTTP status of the answer."},
            "detail": {"type": "string", "description": "What was wrong with this call, and what to do."},
            "code": {
                "type": "string",
                "description": "The kind of error, for programs. Later versions may add codes.",
                "examples": codes,
            },
            "header": {"type": "string", "description": "The name of the wrong header, if a header is wrong."},
            "parameter": {
                "type": "string",
                "description": "The name of the wrong query parameter, if a query parameter is wrong.",
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> Document {
        Document::new(&OpenApi::default(), Map::from_iter([(PROBLEM.to_owned(), problem_schema())]))
    }

    fn asked_with(value: &str) -> StatusCode {
        let headers = HeaderMap::from_iter([(IF_NONE_MATCH, value.parse().unwrap())]);
        document().answer(&headers).status()
    }

    #[test]
    fn a_client_that_has_the_document_gets_no_body() {
        let etag = document().etag.to_str().unwrap().to_owned();
        assert_eq!(document().answer(&HeaderMap::new()).status(), 200);
        for known in [&etag, &format!("W/{etag}"), &format!("\"x\", {etag}"), "*"] {
            assert_eq!(asked_with(known), 304, "{known}");
        }
        for other in ["\"x\"", etag.trim_matches('"'), ""] {
            assert_eq!(asked_with(other), 200, "{other}");
        }
    }

    #[test]
    fn problems_with_the_same_status_are_one_response() {
        let problems = problems(&[Code::NotFound, Code::QueueFull, Code::Draining]);
        assert_eq!(problems.keys().copied().collect::<Vec<_>>(), [404, 503]);
        let full = serde_json::to_value(&problems[&503]).unwrap();
        assert_eq!(
            full["description"],
            "`queue_full`: Too many requests wait.\n`draining`: The server stops soon and \
                                         accepts no new requests."
        );
        assert!(full["content"][PROBLEM_JSON]["examples"]["draining"].is_object(), "{full:#}");
        assert!(full["headers"]["Retry-After"].is_object(), "{full:#}");
    }
}
