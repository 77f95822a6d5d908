//! What a webhook says: the status of a request, and the exact bytes of its report.

mod reason;

use std::fmt;
use std::io::Write as _;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use self::reason::EndReason;
pub(crate) use self::reason::Reason;
use crate::time::Timestamp;

/// How a request ended. As JSON, the word on the wire: `"completed"`, `"failed"`, `"cancelled"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Status {
    /// The handler returned `Ok`.
    Completed,
    /// The handler returned `Err`, panicked, ran out of time, or was lost with its process too often.
    Failed,
    /// The request was cancelled.
    Cancelled,
}

impl Status {
    /// The word on the wire: `completed`, `failed`, `cancelled`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of ends: which of them are reported.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ends(u8);

impl Ends {
    /// The handler returned `Ok`.
    pub const COMPLETED: Self = Self(1);
    /// The handler returned `Err` or panicked.
    pub const FAILED: Self = Self(2);
    /// The request was cancelled.
    pub const CANCELLED: Self = Self(4);
    /// The future was dropped half-way; told as failed.
    pub const DROPPED: Self = Self(8);
    /// None of them.
    pub const NONE: Self = Self(0);

    /// These ends and those.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether every end of `other` is among these.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// As stored.
    pub(crate) fn bits(self) -> u8 {
        self.0
    }

    /// The reverse of [`bits`](Self::bits); what is unknown is left out.
    pub(crate) fn from_bits(bits: u8) -> Self {
        Self(bits & 15)
    }
}

/// `completed`, `failed` and `cancelled`.
impl Default for Ends {
    fn default() -> Self {
        Self::COMPLETED.with(Self::FAILED).with(Self::CANCELLED)
    }
}

impl fmt::Debug for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (Self::COMPLETED, "completed"),
            (Self::FAILED, "failed"),
            (Self::CANCELLED, "cancelled"),
            (Self::DROPPED, "dropped"),
        ];
        f.debug_set().entries(names.iter().filter(|(end, _)| self.contains(*end)).map(|(_, name)| name)).finish()
    }
}

/// The largest result: stores have limits, and so has the patience of receivers.
const MAX_JSON: usize = 64 << 20;

/// JSON text, serialised once: what is stored, polled and sent are these bytes.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Json(Bytes);

impl Json {
    /// The value as JSON; `None` if it is `null`, which counts as no value. An error if it is larger than 64 MiB.
    pub(crate) fn of<T: Serialize + ?Sized>(value: &T) -> Result<Option<Self>, serde_json::Error> {
        let bytes = serde_json::to_vec(value)?;
        if bytes.len() > MAX_JSON {
            let problem = format!("it has {} bytes as JSON, more than the {MAX_JSON} that are allowed", bytes.len());
            return Err(serde::ser::Error::custom(problem));
        }
        Ok((bytes != b"null").then(|| Self(bytes.into())))
    }

    /// A text as a JSON string.
    pub(crate) fn string(text: &str) -> Self {
        let mut json = Vec::with_capacity(text.len() + 2);
        write_string(text, &mut json);
        Self(json.into())
    }

    /// Bytes that were JSON when they were stored.
    pub(crate) fn stored(bytes: impl Into<Bytes>) -> Self {
        Self(bytes.into())
    }

    pub(crate) fn bytes(&self) -> &Bytes {
        &self.0
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Json({} bytes)", self.0.len())
    }
}

/// The end of a request, as it is stored and told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) status: Status,
    pub(crate) reason: Reason,
    /// Whether the outside is told the reason: only if the handler asked for it.
    pub(crate) tells_reason: bool,
    /// Only with [`Status::Completed`].
    pub(crate) result: Option<Json>,
    /// What the outside is told of a failure; absent unless the handler asked for it.
    pub(crate) error: Option<Json>,
    /// What log and store are told of a failure.
    pub(crate) detail: Option<String>,
    pub(crate) finished: Timestamp,
}

impl Outcome {
    pub(crate) fn completed(result: Option<Json>, finished: Timestamp) -> Self {
        let end = Self::cancelled(finished);
        Self { status: Status::Completed, result, ..end }
    }

    pub(crate) fn failed(reason: Reason, detail: Option<String>, finished: Timestamp) -> Self {
        let end = Self::cancelled(finished);
        Self { status: Status::Failed, reason, detail, ..end }
    }

    pub(crate) fn cancelled(finished: Timestamp) -> Self {
        Self {
            status: Status::Cancelled,
            reason: Reason::None,
            tells_reason: false,
            result: None,
            error: None,
            detail: None,
            finished,
        }
    }

    /// What the outside is told of why it ended so.
    pub(crate) fn told_reason(&self) -> Option<EndReason> {
        EndReason::of(self.status, self.reason).filter(|_| self.tells_reason)
    }

    /// Which of the ends it is that can be chosen for reporting.
    pub(crate) fn end(&self) -> Ends {
        match (self.status, self.reason) {
            (Status::Completed, _) => Ends::COMPLETED,
            (Status::Failed, Reason::Dropped) => Ends::DROPPED,
            (Status::Failed, _) => Ends::FAILED,
            (Status::Cancelled, _) => Ends::CANCELLED,
        }
    }

    /// The body of a webhook in the default form, which is Cortex's: `id`, `status`, then `result` and `timestamp` if it
    /// completed with a result, or `reason` and `error` if the handler chose to tell. Source: Cortex 0.34, "Webhooks" under AsyncAPI;
    /// the time is RFC 3339 with a zone, where Cortex's example had none.
    pub(crate) fn to_report(&self, id: &str) -> Bytes {
        let result_len = self.result.as_ref().or(self.error.as_ref()).map_or(0, |json| json.0.len());
        let mut body = Vec::with_capacity(96 + id.len() + result_len);
        body.push(b'{');
        self.write_members(id, &mut body);
        body.push(b'}');
        body.into()
    }

    /// The members of the report without the braces, so that an answer of the API can say the same and more.
    pub(crate) fn write_members(&self, id: &str, body: &mut Vec<u8>) {
        write_id_and_status(id, self.status.as_str(), body);
        write_reason(self.told_reason().as_ref(), body);
        if let Some(result) = &self.result {
            body.extend_from_slice(b",\"result\":");
            body.extend_from_slice(&result.0);
            // Writing to a Vec cannot fail.
            let _ = write!(body, ",\"timestamp\":\"{}\"", self.finished);
        }
        if let Some(error) = &self.error {
            body.extend_from_slice(b",\"error\":");
            body.extend_from_slice(&error.0);
        }
    }
}

/// What a receiver is told of one piece of work. For programs that post reports by hand; the attribute makes its own.
///
/// ```
/// # #[derive(serde::Serialize)] struct Made { bytes: u64 }
/// let report = postback::Report::completed("job-7", &Made { bytes: 512 })?;
/// assert_eq!(report.id(), "job-7");
/// # Ok::<(), postback::ReportError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Report {
    id: String,
    outcome: Outcome,
}

impl Report {
    /// It was completed, with this result.
    ///
    /// # Errors
    ///
    /// If the result does not serialise to JSON, or to more than 64 MiB of it.
    pub fn completed(id: impl fmt::Display, result: &(impl Serialize + ?Sized)) -> Result<Self, ReportError> {
        let outcome = Outcome::completed(Json::of(result).map_err(ReportError)?, Timestamp::default());
        Ok(Self { id: id.to_string(), outcome })
    }

    /// It failed.
    pub fn failed(id: impl fmt::Display) -> Self {
        Self { id: id.to_string(), outcome: Outcome::failed(Reason::Error, None, Timestamp::default()) }
    }

    /// It was cancelled.
    pub fn cancelled(id: impl fmt::Display) -> Self {
        let mut report = Self::failed(id);
        report.outcome.status = Status::Cancelled;
        report.outcome.reason = Reason::None;
        report
    }

    /// Tells the receiver this, as the member `error`; not if it was completed.
    #[must_use]
    pub fn error(mut self, text: impl fmt::Display) -> Self {
        if self.outcome.status != Status::Completed {
            self.outcome.error = Some(Json::string(&text.to_string()));
        }
        self
    }

    /// How the work ended.
    pub fn status(&self) -> Status {
        self.outcome.status
    }

    /// The id that it speaks of.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The bytes to be sent, for an end at this time.
    pub(crate) fn body(&self, finished: Timestamp) -> Bytes {
        Outcome { finished, ..self.outcome.clone() }.to_report(&self.id)
    }
}

/// A result cannot be put into a [`Report`].
#[derive(thiserror::Error)]
#[error("the result cannot be serialised to JSON")]
pub struct ReportError(#[source] serde_json::Error);

crate::line::debug_as_message!(ReportError);

/// `"id":…,"status":…` of a request in any state.
pub(crate) fn write_id_and_status(id: &str, status: &str, body: &mut Vec<u8>) {
    body.extend_from_slice(b"\"id\":");
    write_string(id, body);
    body.extend_from_slice(b",\"status\":");
    write_string(status, body);
}

/// `,"reason":…`, if there is one to be told.
pub(crate) fn write_reason(reason: Option<&EndReason>, body: &mut Vec<u8>) {
    if let Some(reason) = reason {
        body.extend_from_slice(b",\"reason\":");
        write_string(reason.as_str(), body);
    }
}

/// A text as a JSON string.
fn write_string(text: &str, body: &mut Vec<u8>) {
    // Neither text nor a Vec has a way to fail.
    let _ = serde_json::to_writer(body, text);
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp::from_micros(1_795_420_800_123_456);

    fn completed(result: &impl Serialize) -> String {
        let outcome = Outcome::completed(Json::of(result).unwrap(), AT);
        String::from_utf8(outcome.to_report("id-1").to_vec()).unwrap()
    }

    #[test]
    fn a_completed_report_has_exactly_these_members_in_this_order() {
        let body = completed(&serde_json::json!({"data": "hello"}));
        let expected =
            r#"{"id":"id-1","status":"completed","result":{"data":"hello"},"timestamp":"2026-11-23T08:00:00.123456Z"}"#;
        assert_eq!(body, expected);
    }

    #[test]
    fn without_a_result_there_is_no_timestamp_either() {
        let bare = r#"{"id":"id-1","status":"completed"}"#;
        assert_eq!(completed(&()), bare);
        assert_eq!(completed(&None::<u8>), bare);
        assert_eq!(completed(&serde_json::Value::Null), bare);
        assert!(completed(&serde_json::json!({})).contains(r#""result":{}"#));
    }

    #[test]
    fn a_failed_report_tells_no_detail_unless_asked_to() {
        let mut outcome = Outcome::failed(Reason::Error, Some("secret detail".into()), AT);
        assert_eq!(outcome.to_report("id-1"), r#"{"id":"id-1","status":"failed"}"#);
        outcome.error = Some(Json::string("no \"such\" file"));
        assert_eq!(outcome.to_report("id-1"), r#"{"id":"id-1","status":"failed","error":"no \"such\" file"}"#);
    }

    #[test]
    fn an_id_is_escaped() {
        let outcome = Outcome::failed(Reason::Error, None, AT);
        assert_eq!(outcome.to_report("a\"b\n"), "{\"id\":\"a\\\"b\\n\",\"status\":\"failed\"}");
    }

    #[test]
    fn a_reason_is_told_of_each_end_but_completed_and_only_if_asked_for() {
        let mut outcome = Outcome::failed(Reason::Timeout, Some("secret detail".into()), AT);
        outcome.tells_reason = true;
        assert_eq!(outcome.to_report("id-1"), r#"{"id":"id-1","status":"failed","reason":"timeout"}"#);
        outcome.error = Some(Json::string("too late"));
        let body = r#"{"id":"id-1","status":"failed","reason":"timeout","error":"too late"}"#;
        assert_eq!(outcome.to_report("id-1"), body);
        outcome.tells_reason = false;
        assert_eq!(outcome.to_report("id-1"), r#"{"id":"id-1","status":"failed","error":"too late"}"#);

        let cancelled = Outcome { tells_reason: true, ..Outcome::cancelled(AT) };
        assert_eq!(cancelled.to_report("id-1"), r#"{"id":"id-1","status":"cancelled","reason":"cancelled"}"#);
        let completed = Outcome { tells_reason: true, ..Outcome::completed(None, AT) };
        assert_eq!(completed.to_report("id-1"), r#"{"id":"id-1","status":"completed"}"#);
    }
}
