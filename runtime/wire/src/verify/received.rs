//! The body of a webhook, as a receiver reads it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::DateTime;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::report::{EndReason, Status};
use crate::time::Timestamp;

/// The body of a webhook: a report in the default form.
///
/// `T` is the type of the result. Each member that a report may lack is an `Option`, so one type reads the reports of
/// completed, failed and cancelled requests. Members that this version of Postback does not know are ignored.
///
/// Verify the webhook first: [`Verified<ReceivedReport<T>>`](crate::Verified) does both.
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
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[non_exhaustive]
pub struct ReceivedReport<T> {
    /// The id of the request. The header `webhook-id` is another id: [`Verified::id`](crate::Verified::id).
    pub id: String,
    /// How the request ended.
    pub status: Status,
    /// Why the request was not completed. `None` unless the handler asks for it with the attribute's argument `error`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<EndReason>,
    /// The result of a completed request. `None` if the handler returned no value (`()`, `None`) or leaves out its
    /// result.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub result: Option<T>,
    /// The error of a failed request, if the handler asks for it: a string, unless the attribute's `error` names a
    /// function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Value>,
    /// When the request ended. `None` if there is no result.
    #[serde(
        default,
        deserialize_with = "read_time",
        serialize_with = "write_time",
        skip_serializing_if = "Option::is_none"
    )]
    pub timestamp: Option<SystemTime>,
}

/// Returns the default for a missing result. Serde's own default would need `T: Default`.
fn none<T>() -> Option<T> {
    None
}

fn read_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SystemTime>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    let time = DateTime::parse_from_rfc3339(&text).map_err(serde::de::Error::custom)?;
    // A time before 1970 is an error, because no report is that old.
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
    use crate::report::{Json, Outcome, Reason};

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
    fn members_of_later_versions_are_ignored_and_what_is_no_report_is_refused() {
        let read = |json: Value| serde_json::from_value::<Received>(json).map_err(|error| error.to_string());
        let known = json!({"id": "1", "status": "failed", "cause": "none", "result": null, "timestamp": null});
        assert_eq!(read(known).unwrap().result, None);
        let evicted = read(json!({"id": "1", "status": "failed", "reason": "evicted"})).unwrap();
        assert_eq!(evicted.reason, Some(EndReason::Other("evicted".into())));
        let refused = |json| read(json).unwrap_err();
        assert!(refused(json!({"status": "failed"})).contains("missing field `id`"));
        assert!(refused(json!({"id": "1", "status": "done"})).contains("`completed`, `failed`, `cancelled`"));
        assert!(refused(json!({"id": "1", "status": "completed", "result": {"pages": "3"}})).contains("u32"));
        refused(json!({"id": "1", "status": "completed", "timestamp": "yesterday"}));
    }
}
