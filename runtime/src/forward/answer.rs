//! What the answer of a target means. Decides, and does no I/O.

use std::time::Duration;

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use serde::de::IgnoredAny;

use crate::handler::{AfterError, Ended, is_json_type};
use crate::policy::retry_after;
use postback_wire::line::Escaped;
use postback_wire::report::Json;
use postback_wire::time::Timestamp;

/// Only this status means that the target has done the work. Others from 200 to 299 say that it has not done it yet, or
/// has no result.
const DONE: StatusCode = StatusCode::OK;

/// Checks the head of an answer. Returns `Err` if the request fails whatever the body is.
///
/// `Ok(false)`: the answer is an error, and its body says what is wrong.
pub(super) fn head(status: StatusCode, headers: &HeaderMap) -> Result<bool, Ended> {
    if status != DONE {
        return Ok(false);
    }
    let value = headers.get(CONTENT_TYPE);
    let text = value.map(|value| String::from_utf8_lossy(value.as_bytes())).unwrap_or_default();
    if is_json_type(&text) {
        return Ok(true);
    }
    let found = match value {
        Some(_) => format!("the content type {}", Escaped(&text)),
        None => "no content type".to_owned(),
    };
    Err(failed(format!("the target's answer has {found}; the result must be application/json"), AfterError::Usual))
}

/// Returns the end of a run whose target has answered 200 with JSON.
pub(super) fn result(body: &[u8]) -> Ended {
    // `IgnoredAny` does not look into the strings of the JSON.
    let fault = match std::str::from_utf8(body) {
        Ok(_) => serde_json::from_slice::<IgnoredAny>(body).err().map(|error| error.to_string()),
        Err(error) => Some(error.to_string()),
    };
    match fault {
        None => {
            let json = compact(body);
            Ended::Completed(Some(Ok((json != b"null").then(|| Json::stored(json)))))
        }
        Some(why) => failed(format!("the target's answer is not valid JSON: {why}"), AfterError::Usual),
    }
}

/// Returns the end of a run whose target has answered with another status than 200. `body` is the beginning of the
/// answer's body.
pub(super) fn error(status: StatusCode, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Ended {
    let text = String::from_utf8_lossy(body);
    let text = text.trim();
    let said = if text.is_empty() { String::new() } else { format!(": {}", Escaped(text)) };
    let reason = status.canonical_reason().map(|reason| format!(" {reason}")).unwrap_or_default();
    let after = after(status, headers, now);
    failed(format!("the target answered {}{reason}{said}", status.as_u16()), after)
}

/// Returns what follows an answer with an error. A target that refuses a request would refuse it again.
fn after(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> AfterError {
    let may_change = status.is_server_error()
        || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS);
    if !may_change {
        return AfterError::Permanent;
    }
    let wait = headers.get(RETRY_AFTER).and_then(|value| retry_after::parse(value.to_str().ok()?, now));
    wait.map_or(AfterError::Usual, |wait| AfterError::RetryAfter(wait.min(LONGEST_WAIT)))
}

/// The longest wait that a target may ask for.
const LONGEST_WAIT: Duration = Duration::from_hours(24);

pub(super) fn failed(text: String, after: AfterError) -> Ended {
    Ended::Failed { text, after }
}

/// Removes the white space between the tokens of a valid JSON text. Numbers and strings keep their bytes.
fn compact(json: &[u8]) -> Vec<u8> {
    let mut compact = Vec::with_capacity(json.len());
    let (mut in_string, mut escaped) = (false, false);
    for byte in json {
        if in_string {
            (in_string, escaped) = (escaped || *byte != b'"', !escaped && *byte == b'\\');
        } else if byte.is_ascii_whitespace() {
            continue;
        } else {
            in_string = *byte == b'"';
        }
        compact.push(*byte);
    }
    compact
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(content_type: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_TYPE, content_type.parse().unwrap())])
    }

    fn text_of(ended: Ended) -> String {
        match ended {
            Ended::Failed { text, .. } => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_200_with_json_is_a_result() {
        assert!(head(StatusCode::OK, &typed("application/json; charset=utf-8")).unwrap());
        assert!(head(StatusCode::OK, &typed("application/problem+json")).unwrap());
        assert!(!head(StatusCode::CREATED, &typed("application/json")).unwrap());
        assert!(!head(StatusCode::NO_CONTENT, &HeaderMap::new()).unwrap());
        let told = text_of(head(StatusCode::OK, &typed("text/html")).unwrap_err());
        assert_eq!(told, "the target's answer has the content type text/html; the result must be application/json");
        let told = text_of(head(StatusCode::OK, &HeaderMap::new()).unwrap_err());
        assert!(told.starts_with("the target's answer has no content type;"), "{told}");
    }

    #[test]
    fn a_result_keeps_its_values_and_loses_its_line_breaks() {
        let of = |body: &str| match result(body.as_bytes()) {
            Ended::Completed(Some(Ok(json))) => json.map(|json| String::from_utf8(json.bytes().to_vec()).unwrap()),
            other => panic!("{other:?}"),
        };
        let pretty = "{\n  \"a b\" : [ 1.50, \"x \\\" \\\\\" , 12345678901234567890123 ]\n}\n";
        assert_eq!(of(pretty).unwrap(), r#"{"a b":[1.50,"x \" \\",12345678901234567890123]}"#);
        assert_eq!(of(" null\n"), None);
        for bad in ["", "{", "{} x", "NaN"] {
            assert!(text_of(result(bad.as_bytes())).starts_with("the target's answer is not valid JSON: "));
        }
        assert!(text_of(result(b"\"\xff\"")).contains("invalid utf-8"));
    }

    #[test]
    fn a_refusal_is_final_and_an_overload_is_not() {
        let now = Timestamp::from_micros(0);
        let after = |status: u16, headers: &HeaderMap| after(StatusCode::from_u16(status).unwrap(), headers, now);
        let none = HeaderMap::new();
        assert_eq!([204, 302, 400, 404, 422].map(|n| after(n, &none)), [AfterError::Permanent; 5]);
        assert_eq!([408, 425, 429, 500, 503].map(|n| after(n, &none)), [AfterError::Usual; 5]);
        let later = HeaderMap::from_iter([(RETRY_AFTER, "7".parse().unwrap())]);
        assert_eq!(after(503, &later), AfterError::RetryAfter(Duration::from_secs(7)));
        let told = text_of(error(StatusCode::BAD_GATEWAY, &none, b" no\x1b[2J \n", now));
        assert_eq!(told, "the target answered 502 Bad Gateway: no\\u{1b}[2J");
    }
}
