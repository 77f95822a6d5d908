//! One webhook that has arrived, and what was answered to it.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Uri, Version};
use serde_json::{Value, json};

use super::signature::Checked;
use postback_wire::names::header;
use postback_wire::report::Format;
use postback_wire::time::Timestamp;

/// The inbox of webhooks whose path names none.
pub(super) const DEFAULT_INBOX: &str = "default";
/// The longest name of an inbox, in bytes.
const MAX_INBOX: usize = 64;

/// One webhook, byte for byte as it came.
#[derive(Debug)]
pub(super) struct Hit {
    /// The number of this webhook since the start. The first is 1.
    pub(super) number: u64,
    pub(super) inbox: String,
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) version: Version,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) received: Timestamp,
    /// The time from the head to the end of the body.
    pub(super) arriving: Duration,
    /// The number of webhooks with this `webhook-id` in this inbox that came before, plus one.
    pub(super) attempt: u32,
    /// The id of the request, if the body is a report. Otherwise its member `id`, if it is a short text.
    pub(super) id: String,
    /// The status in the words of the report's form. Otherwise the member `status`, if it is a short text.
    pub(super) status: String,
    /// The form of the report, as far as the body tells it.
    pub(super) form: Option<Format>,
    /// Why the body is not whole. `None` if it is.
    pub(super) problem: Option<&'static str>,
    pub(super) signature: Checked,
}

/// What was answered to a webhook.
#[derive(Clone, Debug)]
pub(super) struct Answered {
    /// The status. `None` if there was no answer.
    pub(super) status: Option<u16>,
    /// What was done, if it was not a plain answer, such as `hangs`.
    pub(super) what: String,
    /// The time from the end of the body to the answer.
    pub(super) after: Duration,
}

/// Returns the inbox of a path: its first segment.
pub(super) fn inbox(path: &str) -> String {
    let segment = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    let mut end = segment.len().min(MAX_INBOX);
    while !segment.is_char_boundary(end) {
        end -= 1;
    }
    if segment.is_empty() { DEFAULT_INBOX.to_owned() } else { segment[..end].to_owned() }
}

impl Hit {
    /// The value of a header as text. If the header occurs more than once, the first value. Bytes that are not UTF-8 are
    /// replaced.
    pub(super) fn header(&self, name: &str) -> Option<String> {
        self.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    }

    pub(super) fn webhook_id(&self) -> Option<String> {
        self.header(header::WEBHOOK_ID)
    }

    /// The path with the query, as it came.
    pub(super) fn path(&self) -> &str {
        self.uri.path_and_query().map_or("/", |path| path.as_str())
    }

    /// The memory that this webhook takes, roughly.
    pub(super) fn size(&self) -> usize {
        // The head of a connection is bounded, and a header takes some memory besides its bytes.
        let headers: usize = self.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 100).sum();
        self.body.len() + headers + self.path().len() + 1_024
    }

    /// What a list shows of this webhook.
    pub(super) fn summary(&self, answer: Option<&Answered>) -> Value {
        json!({
            "number": self.number,
            "inbox": self.inbox,
            "method": self.method.as_str(),
            "path": self.path(),
            "received_ms": self.received.micros().div_euclid(1_000),
            "bytes": self.body.len(),
            "id": self.id,
            "status": self.status,
            "format": self.form.map(Format::as_str),
            "webhook_id": self.webhook_id(),
            "attempt": self.attempt,
            "signature": self.signature.verdict.name(),
            "problem": self.problem,
            "answer": answer.map(|answer| json!({
                "status": answer.status, "what": answer.what, "after_ms": millis(answer.after),
            })),
        })
    }

    /// Everything about this webhook, except the body.
    pub(super) fn detail(&self, answer: Option<&Answered>) -> Value {
        let headers: Vec<Value> = self
            .headers
            .iter()
            .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
            .collect();
        let mut detail = self.summary(answer);
        detail["headers"] = headers.into();
        detail["version"] = format!("{:?}", self.version).into();
        detail["arriving_ms"] = millis(self.arriving).into();
        detail["check"] = self.signature.shown();
        detail
    }
}

pub(super) fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inbox_is_the_first_segment_of_the_path() {
        for (path, name) in [("/", "default"), ("", "default"), ("/a", "a"), ("/a/b?c", "a"), ("//x/y", "x")] {
            assert_eq!(inbox(path), name, "{path}");
        }
        assert_eq!(inbox(&format!("/{}", "é".repeat(100))).len(), MAX_INBOX);
    }
}
