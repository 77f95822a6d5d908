//! What came to the receiver of a test.

use std::fmt;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Uri};
use serde_json::Value;
use url::Url;

use super::Answer;
use postback_wire::names::header::WEBHOOK_ID;
use postback_wire::report::{EndReason, Status};
use postback_wire::secret::Secret;
use postback_wire::time::Timestamp;
use postback_wire::verify::verify_at;
use postback_wire::webhook::Shown;
use postback_wire::{Verifies, VerifyError};

/// One HTTP request to a [`Receiver`](super::Receiver): an attempt to deliver a report.
#[derive(Clone)]
pub struct Hit {
    url: Url,
    headers: HeaderMap,
    body: Bytes,
    parsed: Value,
    attempt: usize,
    is_signed: bool,
    at: Timestamp,
    pub(super) answer: Answer,
}

impl Hit {
    pub(super) fn of(
        origin: &Uri,
        head: Parts,
        body: Bytes,
        (secrets, at): (&[Secret], Timestamp),
        earlier: &[Self],
    ) -> Self {
        let (scheme, host) =
            (origin.scheme_str().unwrap_or("http"), origin.authority().map_or("", |host| host.as_str()));
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        // What an HTTP client has sent to is a URL.
        let url = Url::parse(&format!("{scheme}://{host}{path}")).unwrap_or_else(|_| nowhere());
        let same = |hit: &&Self| hit.headers.get(WEBHOOK_ID) == head.headers.get(WEBHOOK_ID) && hit.url == url;
        let attempt = earlier.iter().filter(same).count() + 1;
        let is_signed = verify_at(secrets, &head.headers, &body, at).is_ok();
        let parsed = serde_json::from_slice(&body).unwrap_or_default();
        Self { url, headers: head.headers, body, parsed, attempt, is_signed, at, answer: Answer::default() }
    }

    /// Returns the member `id` of the report, which is the id of the request. It is empty if the body has none.
    pub fn id(&self) -> &str {
        self.text("id").unwrap_or_default()
    }

    /// Returns the member `status` of the report. `None`: the body has none, or another word.
    pub fn status(&self) -> Option<Status> {
        let all = [Status::Completed, Status::Failed, Status::Cancelled, Status::Progress];
        all.into_iter().find(|status| self.text("status") == Some(status.as_str()))
    }

    /// Returns the member `result` of the report.
    pub fn result(&self) -> Option<&Value> {
        self.parsed.get("result")
    }

    /// Returns the member `error` of the report.
    pub fn error(&self) -> Option<&Value> {
        self.parsed.get("error")
    }

    /// Returns the member `reason` of the report.
    pub fn reason(&self) -> Option<EndReason> {
        self.text("reason").map(EndReason::from)
    }

    fn text(&self, member: &str) -> Option<&str> {
        self.parsed.get(member)?.as_str()
    }

    /// Returns the body as JSON. It is `null` if the body is no JSON.
    pub fn json(&self) -> &Value {
        &self.parsed
    }

    /// Returns the body, byte for byte.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Returns the URL.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Returns the headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Returns the header `webhook-id`, which is the same for each attempt to deliver a report.
    pub fn webhook_id(&self) -> &str {
        self.headers.get(WEBHOOK_ID).and_then(|id| id.to_str().ok()).unwrap_or_default()
    }

    /// Returns the number of this attempt to deliver the report to its URL, from 1.
    pub fn attempt(&self) -> usize {
        self.attempt
    }

    /// Whether the hit is signed with a secret of the app: with `delivery.secrets`, or with one that the test kit has made.
    pub fn is_signed(&self) -> bool {
        self.is_signed
    }

    /// Checks the signature with other keys, such as that of a webhook with a secret of its own, as a receiver would have
    /// at the time of the hit.
    ///
    /// # Errors
    ///
    /// Fails if the hit is not signed with one of these keys.
    pub fn verify<K: Verifies>(&self, keys: &[K]) -> Result<(), VerifyError> {
        verify_at(keys, &self.headers, &self.body, self.at).map(drop)
    }

    /// Returns what the receiver answered.
    pub fn answer(&self) -> &Answer {
        &self.answer
    }
}

#[expect(clippy::expect_used, reason = "the text is a URL")]
fn nowhere() -> Url {
    Url::parse("http://invalid/").expect("a URL")
}

/// The debug text shows the body, and the URL without the parts that may contain a secret.
impl fmt::Debug for Hit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, body, attempt, is_signed, answer, .. } = self;
        let signed = if *is_signed { "signed" } else { "not signed" };
        let (body, url) = (String::from_utf8_lossy(body), Shown(url));
        write!(f, "{body} to {url}, attempt {attempt}, {signed}, answered with {answer:?}")
    }
}
