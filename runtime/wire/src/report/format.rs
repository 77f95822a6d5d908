//! The bodies of reports in the forms of other services.

use std::fmt;
use std::io::Write as _;

use bytes::Bytes;

use super::{EndReason, Json, Outcome, Status, write_metadata, write_sequence, write_string};
use crate::format::Format;
use crate::time::Timestamp;

/// What a report is about, beside its outcome.
#[derive(Clone, Copy, Debug, Default)]
pub struct About<'a> {
    /// The id of the request.
    pub id: &'a str,
    /// Where the request was made: the path of its route. Empty: the report was made by a program without routes.
    pub source: &'a str,
    /// What the caller brought to be repeated, as JSON.
    pub metadata: Option<&'a str>,
    /// The place of the report among those of its request. `None`: the request has one report for each webhook.
    pub sequence: Option<u64>,
}

impl Outcome {
    /// Makes the body of a webhook in this form.
    pub fn to_report_in(&self, format: Format, about: About<'_>) -> Bytes {
        if format == Format::Cortex {
            return self.to_report_with(about);
        }
        let told = self.result.as_ref().or(self.error.as_ref()).map_or(0, |json| json.bytes().len());
        let mut body = Vec::with_capacity(256 + about.id.len() + told + about.metadata.map_or(0, str::len));
        match format {
            Format::Cortex => {}
            Format::Standard => self.write_standard(about, &mut body),
            Format::CloudEvents => self.write_cloud_event(about, &mut body),
            Format::Replicate => self.write_prediction(about, &mut body),
            Format::RunPod => self.write_job(about, &mut body),
            Format::Fal => self.write_fal(about, &mut body),
        }
        body.into()
    }

    /// Source: Standard Webhooks 1.0.0, "Payload structure".
    fn write_standard(&self, about: About<'_>, body: &mut Vec<u8>) {
        write(
            body,
            format_args!("{{\"type\":\"request.{}\",\"timestamp\":\"{}\",\"data\":", self.status, self.finished),
        );
        self.write_data(about, body);
        body.push(b'}');
    }

    /// What `data` has, in the forms that have such a member. The reason is one of a fixed list of words, so it is told
    /// in any case.
    fn write_data(&self, about: About<'_>, body: &mut Vec<u8>) {
        write(body, format_args!("{{\"id\":"));
        write_string(about.id, body);
        write(body, format_args!(",\"status\":\"{}\"", self.status));
        if let Some(reason) = EndReason::of(self.status, self.reason) {
            body.extend_from_slice(b",\"reason\":");
            write_string(reason.as_str(), body);
        }
        write_json("result", self.result.as_ref(), body);
        write_json("error", self.error.as_ref(), body);
        write_sequence(about.sequence, body);
        write_metadata(about.metadata, body);
        body.push(b'}');
    }

    /// A request has one such event, so the event has its id.
    fn write_cloud_event(&self, about: About<'_>, body: &mut Vec<u8>) {
        write_event_head(about.id, about, (self.status, self.finished), body);
        self.write_data(about, body);
        body.push(b'}');
    }

    /// Source: the page on webhooks of Replicate, and the type `Prediction` of Cog 0.16.
    fn write_prediction(&self, about: About<'_>, body: &mut Vec<u8>) {
        let status = match self.status {
            Status::Completed => "succeeded",
            Status::Failed => "failed",
            Status::Cancelled => "canceled",
            Status::Progress => "processing",
        };
        body.extend_from_slice(b"{\"id\":");
        write_string(about.id, body);
        write(body, format_args!(",\"status\":\"{status}\",\"output\":"));
        body.extend_from_slice(self.result.as_ref().map_or(b"null", |result| result.bytes()));
        body.extend_from_slice(b",\"error\":");
        match self.status {
            Status::Failed => self.write_error(body),
            _ => body.extend_from_slice(b"null"),
        }
        write(body, format_args!(",\"logs\":\"\",\"completed_at\":\"{}\"", self.finished));
        write_sequence(about.sequence, body);
        write_metadata(about.metadata, body);
        body.push(b'}');
    }

    /// Source: the page on job states of RunPod, and runpod-python.
    fn write_job(&self, about: About<'_>, body: &mut Vec<u8>) {
        let status = match (self.status, EndReason::of(self.status, self.reason)) {
            (Status::Completed, _) => "COMPLETED",
            (Status::Failed, Some(EndReason::Timeout | EndReason::Expired)) => "TIMED_OUT",
            (Status::Failed, _) => "FAILED",
            (Status::Cancelled, _) => "CANCELLED",
            (Status::Progress, _) => "IN_PROGRESS",
        };
        body.extend_from_slice(b"{\"id\":");
        write_string(about.id, body);
        write(body, format_args!(",\"status\":\"{status}\""));
        match self.status {
            Status::Completed => {
                body.extend_from_slice(b",\"output\":");
                body.extend_from_slice(self.result.as_ref().map_or(b"null", |result| result.bytes()));
            }
            Status::Failed => {
                body.extend_from_slice(b",\"error\":");
                self.write_error(body);
            }
            Status::Cancelled | Status::Progress => {}
        }
        write_sequence(about.sequence, body);
        write_metadata(about.metadata, body);
        body.push(b'}');
    }

    /// Source: the page on webhooks of fal.
    fn write_fal(&self, about: About<'_>, body: &mut Vec<u8>) {
        let status = if self.status == Status::Completed { "OK" } else { "ERROR" };
        write_fal_head(about.id, status, body);
        body.extend_from_slice(self.result.as_ref().map_or(b"null", |result| result.bytes()));
        if self.status != Status::Completed {
            body.extend_from_slice(b",\"error\":");
            self.write_error(body);
        }
        write_sequence(about.sequence, body);
        write_metadata(about.metadata, body);
        body.push(b'}');
    }

    /// Writes what went wrong as a string. Without an error that the handler wants to be told, it is the reason.
    fn write_error(&self, body: &mut Vec<u8>) {
        match &self.error {
            Some(error) if error.bytes().starts_with(b"\"") => body.extend_from_slice(error.bytes()),
            // The members of other services are strings.
            Some(error) => write_string(&String::from_utf8_lossy(error.bytes()), body),
            None => {
                let reason = EndReason::of(self.status, self.reason);
                write_string(reason.as_ref().map_or("error", EndReason::as_str), body);
            }
        }
    }
}

/// Writes an event up to its data. Source: CloudEvents 1.0.2, "JSON Event Format".
pub(super) fn write_event_head(id: &str, about: About<'_>, (status, at): (Status, Timestamp), body: &mut Vec<u8>) {
    body.extend_from_slice(b"{\"specversion\":\"1.0\",\"id\":");
    write_string(id, body);
    body.extend_from_slice(b",\"source\":");
    write_string(if about.source.is_empty() { "postback" } else { about.source }, body);
    write(body, format_args!(",\"type\":\"postback.request.{status}\",\"time\":\"{at}\",\"subject\":"));
    write_string(about.id, body);
    body.extend_from_slice(b",\"datacontenttype\":\"application/json\",\"data\":");
}

/// Writes the members of fal up to the status.
pub(super) fn write_fal_head(id: &str, status: &str, body: &mut Vec<u8>) {
    for (name, before) in [("request_id", b'{'), ("gateway_request_id", b',')] {
        body.push(before);
        write(body, format_args!("\"{name}\":"));
        write_string(id, body);
    }
    write(body, format_args!(",\"status\":\"{status}\",\"payload\":"));
}

pub(super) fn write(body: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    // Writing to a `Vec` does not fail.
    let _ = body.write_fmt(text);
}

fn write_json(name: &str, json: Option<&Json>, body: &mut Vec<u8>) {
    if let Some(json) = json {
        write(body, format_args!(",\"{name}\":"));
        body.extend_from_slice(json.bytes());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::report::Reason;

    const METADATA: &str = r#"{"order":7}"#;

    fn outcomes() -> [(&'static str, Outcome); 4] {
        let at = Timestamp::from_micros(1_795_420_800_123_456);
        let result = Json::stored(br#"{"sum":12345678901234567890,"text":"\u00e9 \"x\""}"#.as_slice());
        let error = Some(Json::string("no \"such\" file\n"));
        [
            ("completed", Outcome::completed(Some(result), at)),
            ("failed", Outcome { error, ..Outcome::failed(Reason::Error, Some("secret".to_owned()), at) }),
            ("timeout", Outcome::failed(Reason::Timeout, Some("secret".to_owned()), at)),
            ("cancelled", Outcome::cancelled(at)),
        ]
    }

    /// The bodies of all forms are those of the files in `golden`. To write the files anew, set `UPDATE_GOLDEN`.
    #[test]
    fn bodies_are_those_of_the_golden_files() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/report/golden");
        let update = option_env!("UPDATE_GOLDEN").is_some();
        for format in Format::ALL {
            for (name, outcome) in outcomes() {
                let about = About { id: "job-7", source: "/render", metadata: Some(METADATA), sequence: None };
                let body = outcome.to_report_in(format, about);
                let value: Value = serde_json::from_slice(&body).unwrap();
                assert!(!String::from_utf8_lossy(&body).contains("secret"), "the detail is for the operator");
                assert_eq!(value.to_string().matches("order").count(), 1);
                let path = folder.join(format!("{format}-{name}.json"));
                if update {
                    std::fs::create_dir_all(&folder).unwrap();
                    std::fs::write(&path, [&body[..], b"\n"].concat()).unwrap();
                }
                let golden = std::fs::read_to_string(&path).unwrap_or_default();
                assert_eq!(String::from_utf8_lossy(&body), golden.trim_end(), "{}", path.display());
            }
        }
    }

    #[test]
    fn an_empty_result_is_null_where_the_member_must_be_there() {
        let outcome = Outcome::completed(None, Timestamp::from_micros(0));
        for (format, member) in [(Format::Replicate, "output"), (Format::RunPod, "output"), (Format::Fal, "payload")] {
            let body = outcome.to_report_in(format, About { id: "1", ..About::default() });
            let value: Value = serde_json::from_slice(&body).unwrap();
            assert!(value[member].is_null() && value.as_object().unwrap().contains_key(member), "{value}");
        }
    }
}
