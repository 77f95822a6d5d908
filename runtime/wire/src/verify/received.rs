//! The body of a webhook, as a receiver reads it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::DateTime;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::report::{EndReason, Status};
use crate::time::Timestamp;

/// The body of a webhook, as a receiver parses it: a report in the default format.
///
/// `T` is the type of the result. Members that are not in every report are an `Option`, so the same type can be used
/// for the reports of completed, failed and cancelled requests, and for reports of a progress. Members that this version of
/// Postback does not know are ignored.
///
/// Verify the webhook before you parse its body. The extractor [`Verified<ReceivedReport<T>>`](crate::Verified)
/// verifies and parses.
///
/// ```
/// use postback::{EndReason, ReceivedReport, Status};
///
/// #[derive(serde::Deserialize)]
/// struct Transcript {
///     text: String,
/// }
///
/// let body = br#"{"id":"7","status":"completed","result":{"text":"hello"},"timestamp":"2026-11-23T08:00:00.123456Z"}"#;
/// let report: ReceivedReport<Transcript> = serde_json::from_slice(body)?;
/// assert_eq!((report.id.as_str(), report.status), ("7", Status::Completed));
/// assert_eq!(report.result.unwrap().text, "hello");
///
/// let report: ReceivedReport<Transcript> = serde_json::from_slice(br#"{"id":"8","status":"failed","reason":"error","error":"no audio"}"#)?;
/// assert_eq!(report.status, Status::Failed);
/// assert_eq!((report.reason, report.error), (Some(EndReason::Error), Some("no audio".into())));
///
/// let body = br#"{"id":"9","status":"progress","progress":{"fraction":0.5,"message":"minute 17","detail":null},"sequence":3}"#;
/// let report: ReceivedReport<Transcript> = serde_json::from_slice(body)?;
/// assert_eq!((report.status, report.sequence), (Status::Progress, Some(3)));
/// assert_eq!(report.progress.unwrap().message.as_deref(), Some("minute 17"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[non_exhaustive]
pub struct ReceivedReport<T> {
    /// The id of the request. The id of the report is another id: [`Verified::id`](crate::Verified::id).
    pub id: String,
    /// The status of the request: completed, failed or cancelled, or [`Status::Progress`] if it has not ended.
    pub status: Status,
    /// The reason why the request was not completed. `None` if the request was completed, or if the handler does not
    /// ask for the reason with the attribute's argument `error`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<EndReason>,
    /// The result of a completed request. `None` if the handler returned no value (`()` or `None`), or if the handler's
    /// reports have no result.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub result: Option<T>,
    /// The error of a failed request. `None` if the handler does not ask for the error with the attribute's argument
    /// `error`. The error is a string, but if `error` is the path of a function, the error is the value that this
    /// function returns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Value>,
    /// How far the run of the request is. `None` if the request has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<ReceivedProgress>,
    /// The time at which the request ended, or at which the handler told its progress. `None` if the report has neither a
    /// result nor a progress.
    #[serde(
        default,
        deserialize_with = "read_time",
        serialize_with = "write_time",
        skip_serializing_if = "Option::is_none"
    )]
    pub timestamp: Option<SystemTime>,
    /// The place of the report among those of its request. A report with a smaller number than one that has come already
    /// is out of date. `None` if the handler has no reports of a progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
}

/// How far a run is, in a report of a progress. What the handler has not told is `None`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[non_exhaustive]
pub struct ReceivedProgress {
    /// How much of the work is done, from 0 to 1.
    pub fraction: Option<f64>,
    /// What the handler is doing.
    pub message: Option<String>,
    /// What the handler tells beside them.
    pub detail: Option<Value>,
}

/// Returns `None`, the default of a missing result. `#[serde(default)]` without this function would need `T: Default`.
fn none<T>() -> Option<T> {
    None
}

fn read_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SystemTime>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    let time = DateTime::parse_from_rfc3339(&text).map_err(serde::de::Error::custom)?;
    // A time before 1970 is refused as an error, because no report was made before 1970.
    let micros = u64::try_from(time.timestamp_micros()).map_err(serde::de::Error::custom)?;
    Ok(UNIX_EPOCH.checked_add(Duration::from_micros(micros)))
}

#[expect(clippy::ref_option, reason = "serde expects this signature")]
fn write_time<S: Serializer>(time: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
    let micros = time.and_then(|time| i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_micros()).ok());
    micros.map(|micros| Timestamp::from_micros(micros).to_string()).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::report::{About, Format, Json, LAST_SEQUENCE, OfProgress, Outcome, Reason};

    #[derive(Debug, PartialEq, Deserialize, Serialize)]
    struct Summary {
        pages: u32,
    }

    type Received = ReceivedReport<Summary>;

    const AT: Timestamp = Timestamp::from_micros(1_795_420_800_123_456);

    fn read(outcome: &Outcome) -> Received {
        let body = outcome.to_report("job-7");
        let read: Received = serde_json::from_slice(&body).unwrap();
        assert_eq!(serde_json::to_vec(&read).unwrap(), body, "it is written as it was sent");
        read
    }

    #[test]
    fn one_type_reads_the_report_of_every_end() {
        let completed = read(&Outcome::completed(Json::of(&json!({"pages": 3})).unwrap(), AT));
        assert_eq!((completed.id.as_str(), completed.status), ("job-7", Status::Completed));
        assert_eq!((completed.result, completed.error), (Some(Summary { pages: 3 }), None));
        assert_eq!(completed.timestamp, Some(UNIX_EPOCH + Duration::from_micros(1_795_420_800_123_456)));

        let bare = read(&Outcome::completed(None, AT));
        assert_eq!((bare.status, bare.result, bare.timestamp), (Status::Completed, None, None));

        let mut failed = Outcome::failed(Reason::Error, Some("not told".into()), AT);
        assert_eq!(read(&failed).error, None);
        failed.error = Some(Json::string("told"));
        let failed = read(&failed);
        assert_eq!((failed.status, failed.error), (Status::Failed, Some(json!("told"))));

        assert_eq!(read(&Outcome::cancelled(AT)).status, Status::Cancelled);
        assert_eq!(failed.reason, None);
        for reason in Reason::ALL {
            let told = Outcome { tells_reason: true, ..Outcome::failed(reason, None, AT) };
            assert_eq!(read(&told).reason, told.told_reason());
        }
        let told = Outcome { tells_reason: true, ..Outcome::cancelled(AT) };
        assert_eq!(read(&told).reason, Some(EndReason::Cancelled));
    }

    #[test]
    fn the_same_type_reads_a_progress_and_the_end_after_it() {
        let about = About { id: "job-7", ..About::default() };
        let progress = OfProgress { fraction: Some(0.5), message: Some("page 3"), detail: None, sequence: 4, at: AT };
        let body = progress.to_report_in(Format::Cortex, about);
        let told: Received = serde_json::from_slice(&body).unwrap();
        assert_eq!(serde_json::to_vec(&told).unwrap(), body, "it is written as it was sent");
        assert_eq!((told.status, told.sequence, told.result), (Status::Progress, Some(4), None));
        let (progress, at) = (told.progress.unwrap(), UNIX_EPOCH + Duration::from_micros(1_795_420_800_123_456));
        assert_eq!((progress.fraction, progress.message.as_deref()), (Some(0.5), Some("page 3")));
        assert_eq!((progress.detail, told.timestamp), (None, Some(at)));

        let of_end = About { sequence: Some(LAST_SEQUENCE), ..about };
        let body = Outcome::completed(Json::of(&json!({"pages": 3})).unwrap(), AT).to_report_in(Format::Cortex, of_end);
        let end: Received = serde_json::from_slice(&body).unwrap();
        assert_eq!(serde_json::to_vec(&end).unwrap(), body, "it is written as it was sent");
        assert!(end.sequence > told.sequence && end.progress.is_none());
    }

    #[test]
    fn members_of_later_versions_are_ignored_and_what_is_no_report_is_refused() {
        let read = |json: Value| serde_json::from_value::<Received>(json).map_err(|error| error.to_string());
        let known = json!({"id": "1", "status": "failed", "cause": "none", "result": null, "timestamp": null});
        assert_eq!(read(known).unwrap().result, None);
        let evicted = read(json!({"id": "1", "status": "failed", "reason": "evicted"})).unwrap();
        assert_eq!(evicted.reason, Some(EndReason::Other("evicted".into())));
        let refused = |json| read(json).unwrap_err();
        assert!(refused(json!({"status": "failed"})).contains("missing field `id`"));
        assert!(
            refused(json!({"id": "1", "status": "done"})).contains("`completed`, `failed`, `cancelled`, `progress`")
        );
        assert!(refused(json!({"id": "1", "status": "completed", "result": {"pages": "3"}})).contains("u32"));
        refused(json!({"id": "1", "status": "completed", "timestamp": "yesterday"}));
    }
}
