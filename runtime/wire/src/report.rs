//! The outcome of a request, and the exact bytes of its report.

mod format;
mod progress;
mod reason;
mod stored;

use std::fmt;
use std::io::Write as _;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

#[doc(hidden)]
pub use self::format::About;
#[doc(hidden)]
pub use self::progress::{LAST_SEQUENCE, OfProgress};
pub use self::reason::EndReason;
pub use self::reason::Reason;
pub use self::stored::StoredResult;
pub use crate::format::{Format, UnknownFormat};
use crate::time::Timestamp;

/// The status of a request in a report. In JSON, the status is `"completed"`, `"failed"` or `"cancelled"`, and
/// `"progress"` in a report of a run that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Status {
    /// The handler returned `Ok`.
    Completed,
    /// The request failed: the handler returned `Err`, panicked or ran out of time, the process died too often while
    /// the handler ran, or the result cannot be serialised.
    Failed,
    /// The request was cancelled.
    Cancelled,
    /// The request has not ended: the report tells how far its run is. Only a handler with `on = [progress, …]` has such
    /// reports.
    Progress,
}

impl Status {
    /// All values with which a request ends. Tests of other crates use this list to check that they know every value.
    #[doc(hidden)]
    pub const ALL: [Self; 3] = [Self::Completed, Self::Failed, Self::Cancelled];

    /// Returns the status as a report contains it: `completed`, `failed`, `cancelled` or `progress`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Progress => "progress",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of the ways in which a request can end, and of what is told before. For example, each handler has a set of what
/// is reported.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ends(u8);

impl Ends {
    /// The handler returned `Ok`.
    pub const COMPLETED: Self = Self(1);
    /// The handler returned `Err`, panicked or ran out of time, or the process died too often while the handler ran.
    pub const FAILED: Self = Self(2);
    /// The request was cancelled.
    pub const CANCELLED: Self = Self(4);
    /// The handler's future was dropped before it was finished. The status in the report is `failed`.
    pub const DROPPED: Self = Self(8);
    /// A run of the request tells how far it is. Only the handlers of a server have such reports: elsewhere, nobody
    /// tells a progress.
    pub const PROGRESS: Self = Self(16);
    /// The empty set.
    pub const NONE: Self = Self(0);

    /// Returns the set of the outcomes that are in `self`, in `other` or in both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether `self` contains every outcome of the set `other`.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns the set as bits. The store contains the set in this encoding.
    #[doc(hidden)]
    pub fn bits(self) -> u8 {
        self.0
    }

    /// Makes a set from the bits that [`bits`](Self::bits) returns. Unknown bits are ignored.
    #[doc(hidden)]
    pub fn from_bits(bits: u8) -> Self {
        Self(bits & 31)
    }
}

/// The default is the set of `completed`, `failed` and `cancelled`, without `dropped` and `progress`.
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
            (Self::PROGRESS, "progress"),
        ];
        f.debug_set().entries(names.iter().filter(|(end, _)| self.contains(*end)).map(|(_, name)| name)).finish()
    }
}

/// The largest size of a result as JSON, in bytes. There is a limit because a store limits the size of a row, and
/// receivers limit the size of a body.
const MAX_JSON: usize = 64 << 20;

/// A value that is already serialised as JSON. A value is serialised only once, so the store, the API's answers and the
/// reports contain the same bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Json(Bytes);

impl Json {
    /// Serialises a value as JSON. Returns `None` if the JSON is `null`, because `null` counts as no value. Returns an
    /// error if the value cannot be serialised, or if the JSON is larger than 64 MiB.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Option<Self>, serde_json::Error> {
        let bytes = serde_json::to_vec(value)?;
        if bytes.len() > MAX_JSON {
            let problem = format!("it has {} bytes as JSON; the limit is {MAX_JSON} bytes", bytes.len());
            return Err(serde::ser::Error::custom(problem));
        }
        Ok((bytes != b"null").then(|| Self(bytes.into())))
    }

    /// Makes a JSON string that contains the given text.
    pub fn string(text: &str) -> Self {
        let mut json = Vec::with_capacity(text.len() + 2);
        write_string(text, &mut json);
        Self(json.into())
    }

    /// Makes a value from JSON that was read from the store. The function does not check the JSON.
    pub fn stored(bytes: impl Into<Bytes>) -> Self {
        Self(bytes.into())
    }

    pub fn bytes(&self) -> &Bytes {
        &self.0
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Json({} bytes)", self.0.len())
    }
}

/// The outcome of a request: its status, and what its report shows of the result or of the failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub status: Status,
    pub reason: Reason,
    /// Whether reports and API answers show the reason. They show the reason only if the handler asks for it.
    pub tells_reason: bool,
    /// The result of the request. Only a request with [`Status::Completed`] can have a result.
    pub result: Option<Json>,
    /// The error as reports and API answers show it. `None` if the handler does not ask for the error in reports.
    pub error: Option<Json>,
    /// The description of a failure, for the log and the store. Reports never contain this description.
    pub detail: Option<String>,
    pub finished: Timestamp,
}

impl Outcome {
    pub fn completed(result: Option<Json>, finished: Timestamp) -> Self {
        let end = Self::cancelled(finished);
        Self { status: Status::Completed, result, ..end }
    }

    pub fn failed(reason: Reason, detail: Option<String>, finished: Timestamp) -> Self {
        let end = Self::cancelled(finished);
        Self { status: Status::Failed, reason, detail, ..end }
    }

    pub fn cancelled(finished: Timestamp) -> Self {
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

    /// Returns the reason why the request failed or was cancelled, if reports and API answers show this reason. Returns
    /// `None` if they show no reason, because the handler did not ask for the reason or because the request completed.
    pub fn told_reason(&self) -> Option<EndReason> {
        EndReason::of(self.status, self.reason).filter(|_| self.tells_reason)
    }

    /// Returns the outcome as a set [`Ends`] with one element. The outcome is reported if the handler's set contains
    /// this element.
    pub fn end(&self) -> Ends {
        match (self.status, self.reason) {
            (Status::Completed, _) => Ends::COMPLETED,
            (Status::Failed, Reason::Dropped) => Ends::DROPPED,
            (Status::Failed, _) => Ends::FAILED,
            (Status::Cancelled, _) => Ends::CANCELLED,
            // No outcome has this status.
            (Status::Progress, _) => Ends::PROGRESS,
        }
    }

    /// Makes the body of a webhook in the default format: JSON with the same members as in the webhooks of Cortex.
    ///
    /// The first members are `id` and `status`. If the request completed with a result, `result` and `timestamp`
    /// follow. If the request was not completed, `reason` and `error` follow, as far as the handler asks for them.
    /// Source: Cortex 0.34, "Webhooks" under `AsyncAPI`. The timestamp is in the format of RFC 3339 with a time zone.
    /// In Cortex's example, the timestamp has no time zone.
    pub fn to_report(&self, id: &str) -> Bytes {
        self.to_report_with(About { id, ..About::default() })
    }

    /// Makes the body of a webhook, as [`to_report`](Self::to_report) does, and adds the sequence number of the report and
    /// the metadata of the request, which is a JSON text of its caller.
    fn to_report_with(&self, About { id, metadata, sequence, .. }: About<'_>) -> Bytes {
        let result_len = self.result.as_ref().or(self.error.as_ref()).map_or(0, |json| json.0.len());
        let sequence_len = if sequence.is_some() { 24 } else { 0 };
        let metadata_len = metadata.map_or(0, |text| text.len() + 12);
        let mut body = Vec::with_capacity(96 + id.len() + result_len + sequence_len + metadata_len);
        body.push(b'{');
        self.write_members(id, &mut body);
        write_sequence(sequence, &mut body);
        write_metadata(metadata, &mut body);
        body.push(b'}');
        body.into()
    }

    /// Writes the members of the report's JSON object without its braces, because an API answer begins with the same
    /// members and then has others.
    pub fn write_members(&self, id: &str, body: &mut Vec<u8>) {
        write_id_and_status(id, self.status.as_str(), body);
        write_reason(self.told_reason().as_ref(), body);
        if let Some(result) = &self.result {
            body.extend_from_slice(b",\"result\":");
            body.extend_from_slice(&result.0);
            // Writing to a `Vec` does not fail.
            let _ = write!(body, ",\"timestamp\":\"{}\"", self.finished);
        }
        if let Some(error) = &self.error {
            body.extend_from_slice(b",\"error\":");
            body.extend_from_slice(&error.0);
        }
    }
}

/// Writes the member `sequence`, if there is any.
fn write_sequence(sequence: Option<u64>, body: &mut Vec<u8>) {
    if let Some(sequence) = sequence {
        // Writing to a `Vec` does not fail.
        let _ = write!(body, ",\"sequence\":{sequence}");
    }
}

/// Writes the member `metadata`, if there is any. The metadata is a JSON text, which was checked when it came.
pub fn write_metadata(metadata: Option<&str>, body: &mut Vec<u8>) {
    if let Some(metadata) = metadata {
        body.extend_from_slice(b",\"metadata\":");
        body.extend_from_slice(metadata.as_bytes());
    }
}

/// A report that you make yourself and give to a `Poster`.
///
/// You do not need this type if you use the attribute `async_handler`, because the attribute makes the reports.
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
    /// Makes a report that says that work was completed with the given result.
    ///
    /// # Errors
    ///
    /// Returns an error if the result cannot be serialised to JSON, or if the JSON is larger than 64 MiB.
    pub fn completed(id: impl fmt::Display, result: &(impl Serialize + ?Sized)) -> Result<Self, ReportError> {
        let outcome = Outcome::completed(Json::of(result).map_err(ReportError)?, Timestamp::default());
        Ok(Self { id: id.to_string(), outcome })
    }

    /// Makes a report that says that work failed.
    pub fn failed(id: impl fmt::Display) -> Self {
        Self { id: id.to_string(), outcome: Outcome::failed(Reason::Error, None, Timestamp::default()) }
    }

    /// Makes a report that says that work was cancelled.
    pub fn cancelled(id: impl fmt::Display) -> Self {
        let mut report = Self::failed(id);
        report.outcome.status = Status::Cancelled;
        report.outcome.reason = Reason::None;
        report
    }

    /// Sets the member `error` of the report to the given text. Does nothing if the report says that work was
    /// completed.
    #[must_use]
    pub fn error(mut self, text: impl fmt::Display) -> Self {
        if self.outcome.status != Status::Completed {
            self.outcome.error = Some(Json::string(&text.to_string()));
        }
        self
    }

    /// Returns the status of the work: completed, failed or cancelled.
    pub fn status(&self) -> Status {
        self.outcome.status
    }

    /// Returns the id of the work that the report is about.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the outcome of the work, which ended at the time `finished`.
    #[doc(hidden)]
    pub fn outcome(&self, finished: Timestamp) -> Outcome {
        Outcome { finished, ..self.outcome.clone() }
    }
}

/// The error that [`Report::completed`] returns if the result cannot be serialised to JSON, or if the JSON is too
/// large.
#[derive(thiserror::Error)]
#[error("the result cannot be serialised to JSON")]
pub struct ReportError(#[source] serde_json::Error);

crate::line::debug_as_message!(ReportError);

/// Writes the JSON members `id` and `status` of a request. The request need not have ended.
pub fn write_id_and_status(id: &str, status: &str, body: &mut Vec<u8>) {
    body.extend_from_slice(b"\"id\":");
    write_string(id, body);
    body.extend_from_slice(b",\"status\":");
    write_string(status, body);
}

/// Writes a comma and the JSON member `reason`. Writes nothing if there is no reason.
pub fn write_reason(reason: Option<&EndReason>, body: &mut Vec<u8>) {
    if let Some(reason) = reason {
        body.extend_from_slice(b",\"reason\":");
        write_string(reason.as_str(), body);
    }
}

/// Writes a text as a JSON string.
fn write_string(text: &str, body: &mut Vec<u8>) {
    // Serialising a text into a `Vec` does not fail.
    let _ = serde_json::to_writer(body, text);
}

#[cfg(test)]
mod tests;
