//! Checks whether a body fits a route, before the request is accepted.

use std::any::TypeId;

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use serde::de::DeserializeOwned;

use super::form::{self, is_form};
#[cfg(feature = "multipart")]
use super::multipart::{self, is_multipart};
use crate::panics::caught;

pub(super) fn is_bytes<T: 'static>() -> bool {
    TypeId::of::<T>() == TypeId::of::<Bytes>()
}

/// The kind of request body that a handler takes.
#[derive(Clone, Copy)]
pub enum PayloadKind {
    /// The handler takes any bytes, with any content type.
    Bytes,
    /// The handler takes JSON. The function checks whether a body can be read as the type of the handler's payload.
    Json(fn(&[u8]) -> Result<(), PayloadError>),
    /// The handler takes the fields of a form. The function checks whether they can be read as its type.
    Form(fn(&[u8]) -> Result<(), PayloadError>),
    /// The handler takes a form with files.
    #[cfg(feature = "multipart")]
    Multipart,
}

impl PayloadKind {
    /// Returns the kind of request body that a handler with the parameter `Payload<T>` takes.
    pub(super) fn of<T: DeserializeOwned + 'static>() -> Self {
        #[cfg(feature = "multipart")]
        if is_multipart::<T>() {
            return Self::Multipart;
        }
        if is_bytes::<T>() {
            Self::Bytes
        } else if is_form::<T>() {
            Self::Form(|body| check(form::read::<T>(body)))
        } else {
            Self::Json(|body| check(json::<T>(body)))
        }
    }

    /// Checks the headers of a request: the content type must fit the handler, and the server must know the
    /// content encoding of the body.
    pub(crate) fn check_type(self, headers: &HeaderMap) -> Result<(), PayloadError> {
        match self {
            Self::Bytes => Ok(()),
            Self::Json(_) => has_type(headers, JSON, is_json_type).and_then(|()| is_readable(headers)),
            Self::Form(_) => has_type(headers, FORM, is_form_type).and_then(|()| is_readable(headers)),
            #[cfg(feature = "multipart")]
            Self::Multipart => {
                has_type(headers, MULTIPART, is_multipart_type)?;
                multipart::boundary(headers)?;
                is_readable(headers)
            }
        }
    }

    /// Checks whether the handler can read this request body. The check of a JSON body takes longer if the body is
    /// larger.
    #[cfg_attr(not(feature = "multipart"), expect(unused_variables, reason = "only a boundary is read from them"))]
    pub(crate) fn check_body(self, headers: &HeaderMap, body: &[u8]) -> Result<(), PayloadError> {
        match self {
            Self::Bytes => Ok(()),
            Self::Json(check) | Self::Form(check) => check(body),
            #[cfg(feature = "multipart")]
            Self::Multipart => multipart::Multipart::in_memory(headers, body).map(drop),
        }
    }

    /// Checks the headers and the body of a request.
    pub(crate) fn check(self, headers: &HeaderMap, body: &[u8]) -> Result<(), PayloadError> {
        self.check_type(headers)?;
        self.check_body(headers, body)
    }

    /// Whether the handler accepts every body, whatever its content is. If true, the body need not be checked.
    pub(crate) fn takes_any_body(self) -> bool {
        matches!(self, Self::Bytes)
    }
}

/// The content types that a route takes, as an error names them.
const JSON: &str = "application/json, or a type ending in +json";
pub(crate) const FORM: &str = "application/x-www-form-urlencoded";
pub(crate) const MULTIPART: &str = "multipart/form-data";

fn has_type(headers: &HeaderMap, wanted: &'static str, is_right: fn(&str) -> bool) -> Result<(), PayloadError> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Err(PayloadError::NoContentType { wanted }) };
    let text = String::from_utf8_lossy(value.as_bytes());
    if is_right(&text) {
        return Ok(());
    }
    Err(PayloadError::ContentType { found: text.escape_debug().to_string(), wanted })
}

fn is_form_type(text: &str) -> bool {
    text.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(FORM)
}

#[cfg(feature = "multipart")]
fn is_multipart_type(text: &str) -> bool {
    text.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(MULTIPART)
}

/// Whether the value of a header `content-type` means JSON: `application/json`, or a type that ends in `+json`.
pub(crate) fn is_json_type(text: &str) -> bool {
    if text == "application/json" {
        return true;
    }
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let suffix = essence.split_once('/').is_some_and(|(_, subtype)| subtype.ends_with("+json"));
    essence == "application/json" || suffix
}

/// Checks that the request body has no content encoding, or one that the server decodes: `gzip` or `zstd`.
fn is_readable(headers: &HeaderMap) -> Result<(), PayloadError> {
    if !headers.contains_key(CONTENT_ENCODING) {
        return Ok(());
    }
    let values = headers.get_all(CONTENT_ENCODING).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
    let found = values.collect::<Vec<_>>().join(", ");
    let codings = found.split(',').map(|coding| coding.trim().to_ascii_lowercase());
    let codings: Vec<_> = codings.filter(|coding| !matches!(&**coding, "" | "identity")).collect();
    match codings.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] | ["gzip" | "x-gzip" | "zstd"] => Ok(()),
        _ => Err(PayloadError::Encoding { found: found.escape_debug().to_string() }),
    }
}

/// Checks that a request body could be read. A panic in the `Drop` of the read value is ignored here, because the run of
/// the handler will panic in the same way and report the panic.
fn check<T>(read: Result<T, PayloadError>) -> Result<(), PayloadError> {
    let value = read?;
    let _ = caught(|| drop(value));
    Ok(())
}

/// Reads a body as the type says: as a form, or as JSON.
pub(super) fn read<T: DeserializeOwned + 'static>(body: &[u8]) -> Result<T, PayloadError> {
    if is_form::<T>() { form::read(body) } else { json(body) }
}

fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, PayloadError> {
    serde_json::from_slice(body).or_else(|_| json_with_path(body))
}

/// Does the same as [`json`], but follows the path to the value that is being read, which costs an allocation for each
/// member of an object. So a body is read in this way only after it was found to be wrong.
#[cold]
fn json_with_path<T: DeserializeOwned>(body: &[u8]) -> Result<T, PayloadError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(PayloadError::Empty);
    }
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = match error.path().to_string() {
            root if root == "." => "the body".to_owned(),
            path => path,
        };
        let inner = error.into_inner();
        if inner.is_data() { PayloadError::Field { path, problem: inner.to_string() } } else { not_json(body, &inner) }
    })?;
    deserializer.end().map_err(|error| not_json(body, &error))?;
    Ok(value)
}

/// Returns the error for a body that is not valid JSON. The error tells the sender what is wrong.
fn not_json(body: &[u8], error: &serde_json::Error) -> PayloadError {
    let not_text = match body {
        [0x1f, 0x8b, ..] => {
            Some("it is compressed with gzip; say so in the header content-encoding, or send it as it is")
        }
        [0xef, 0xbb, 0xbf, ..] => Some("it begins with a byte order mark (EF BB BF); send UTF-8 without one"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [_, 0, _, 0, ..] | [0, _, 0, _, ..] => Some("it is UTF-16; send UTF-8"),
        _ => None,
    };
    if let Some(why) = not_text {
        return PayloadError::NotText(why.to_owned());
    }
    if let Err(error) = std::str::from_utf8(body) {
        return PayloadError::NotText(format!("it is not UTF-8, from byte {} on", error.valid_up_to()));
    }
    let (line, column) = (error.line(), error.column());
    if error.is_eof() {
        return PayloadError::Syntax(format!("it ends, at line {line} column {column}, before its value does"));
    }
    // The error shows the first character of the body, because this character helps the sender: for example, HTML
    // begins with `<`. The parser's message does not contain the character.
    let begin = body.trim_ascii_start().first().copied().unwrap_or_default();
    let begins_with = match begin {
        _ if line > 1 || column > 1 => String::new(),
        begin if begin.is_ascii_graphic() => format!(", where `{}` stands", begin as char),
        begin => format!(", where the byte 0x{begin:02x} stands"),
    };
    PayloadError::Syntax(format!("{error}{begins_with}"))
}

/// The reason why a request body does not fit a handler.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// The request has no header `content-type`.
    #[error("the header content-type is missing; this route takes {wanted}")]
    NoContentType { wanted: &'static str },
    /// The header `content-type` names a type that the handler does not take.
    #[error("the header content-type is {found}; this route takes {wanted}")]
    ContentType { found: String, wanted: &'static str },
    /// The body is compressed in a way that the server does not know, or more than once.
    #[error("the header content-encoding is {found}; this route takes gzip, zstd, or the body as it is")]
    Encoding { found: String },
    /// The body is empty, or contains only white space.
    #[error("the body is empty; this route takes a JSON value")]
    Empty,
    /// The body is not UTF-8 text.
    #[error("the body is not valid JSON: {0}")]
    NotText(String),
    /// The body is text, but not JSON.
    #[error("the body is not valid JSON: {0}")]
    Syntax(String),
    /// The body is JSON or a form, but cannot be read as the type of the handler's payload. `path` is the place in it that
    /// is wrong.
    #[error("{path}: {problem}")]
    Field { path: String, problem: String },
    /// The body is no form with parts, or is cut short.
    #[error("the body is not valid multipart/form-data: {0}")]
    Parts(String),
    /// The query cannot be read as the type of a parameter of the handler. `None`: no single parameter is wrong.
    #[error("the query{}: {problem}", parameter.as_ref().map_or_else(String::new, |name| format!(" parameter `{name}`")))]
    Query { parameter: Option<String>, problem: String },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handler::{Extract, Payload};

    #[derive(Debug, serde::Deserialize)]
    struct Order {
        #[expect(dead_code, reason = "only its type matters")]
        items: Vec<Item>,
    }

    #[derive(Debug, serde::Deserialize)]
    struct Item {
        #[expect(dead_code, reason = "only its type matters")]
        count: u32,
    }

    fn check(content_type: &str, body: &str) -> Result<(), PayloadError> {
        let kind = <Payload<Order> as Extract<()>>::payload().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
        kind.check_type(&headers)?;
        kind.check_body(&headers, body.as_bytes())
    }

    #[test]
    fn a_payload_that_does_not_fit_is_told_with_its_path() {
        let error = check("application/json", r#"{"items":[{"count":1},{"count":"x"}]}"#).unwrap_err();
        assert!(matches!(&error, PayloadError::Field { path, .. } if path == "items[1].count"), "{error:?}");
        assert!(error.to_string().starts_with("items[1].count: invalid type"), "{error}");
        let error = check("application/json", "{}").unwrap_err();
        assert!(error.to_string().starts_with("the body: missing field `items`"), "{error}");
    }

    #[test]
    fn what_is_no_json_is_told_apart_from_what_does_not_fit() {
        assert!(matches!(check("application/json", "{\"items\":["), Err(PayloadError::Syntax(_))));
        assert!(matches!(check("application/json", "{\"items\":[]} x"), Err(PayloadError::Syntax(_))));
        assert_eq!(check("application/json", " \n"), Err(PayloadError::Empty));
        assert!(matches!(check("application/json", "[]"), Err(PayloadError::Field { .. })));
    }

    #[test]
    fn json_is_known_by_its_content_type() {
        let body = r#"{"items":[]}"#;
        for good in ["application/json", "Application/JSON; charset=utf-8", "application/vnd.api+json"] {
            check(good, body).unwrap();
        }
        for bad in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", "+json"] {
            assert!(matches!(check(bad, body), Err(PayloadError::ContentType { .. })), "{bad}");
        }
        let kind = <Payload<Order> as Extract<()>>::payload().unwrap();
        assert_eq!(kind.check_type(&HeaderMap::new()), Err(PayloadError::NoContentType { wanted: JSON }));
    }

    #[test]
    fn a_form_is_known_by_its_content_type() {
        let kind = <Payload<form::Form<Vec<(String, String)>>> as Extract<()>>::payload().unwrap();
        let check = |content_type: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
            kind.check(&headers, b"a=1")
        };
        for good in ["application/x-www-form-urlencoded", "Application/X-WWW-Form-Urlencoded; charset=UTF-8"] {
            check(good).unwrap();
        }
        let error = check("application/json").unwrap_err().to_string();
        assert_eq!(
            error,
            "the header content-type is application/json; this route takes application/x-www-form-urlencoded"
        );
    }

    #[test]
    fn bytes_come_as_they_are() {
        let kind = <Payload<Bytes> as Extract<()>>::payload().unwrap();
        kind.check_type(&HeaderMap::new()).unwrap();
        kind.check_body(&HeaderMap::new(), b"\0\xff").unwrap();
    }
}
