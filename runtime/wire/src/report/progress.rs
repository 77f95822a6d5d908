//! The bodies of reports that tell how far a run is, in all forms.
//!
//! These reports are sent while the request runs, and each has a number that is greater than that of the one before. So a
//! receiver can tell which of two reports is the newer one, also if they came in another order.

use bytes::Bytes;

use super::format::{About, write, write_event_head, write_fal_head};
use super::{Json, Status, write_id_and_status, write_metadata, write_sequence, write_string};
use crate::format::Format;
use crate::time::Timestamp;

/// The sequence number of the report of the end. It is greater than that of each progress of the request: telling so many
/// would take 34 years. And it fits into 32 bits, whatever type the receiver has for it.
pub const LAST_SEQUENCE: u64 = (1 << 31) - 1;

/// What a report of a progress tells.
#[derive(Clone, Copy, Debug)]
pub struct OfProgress<'a> {
    /// How much of the work is done, from 0 to 1.
    pub fraction: Option<f64>,
    pub message: Option<&'a str>,
    pub detail: Option<&'a Json>,
    /// How many times the request has told something, with this one.
    pub sequence: u64,
    pub at: Timestamp,
}

impl OfProgress<'_> {
    /// Makes the body of a webhook in this form.
    pub fn to_report_in(&self, format: Format, about: About<'_>) -> Bytes {
        // Less than the number of the report of the end, in any case.
        let sequence = self.sequence.min(LAST_SEQUENCE - 1);
        let about = About { sequence: Some(sequence), ..about };
        let told = self.message.map_or(0, str::len) + self.detail.map_or(0, |detail| detail.bytes().len());
        let mut body = Vec::with_capacity(384 + 3 * about.id.len() + told + about.metadata.map_or(0, str::len));
        match format {
            Format::Cortex => {
                body.push(b'{');
                write_id_and_status(about.id, Status::Progress.as_str(), &mut body);
                self.write_told(&mut body);
                write(&mut body, format_args!(",\"timestamp\":\"{}\"", self.at));
            }
            Format::Standard => {
                let head = format_args!("{{\"type\":\"request.progress\",\"timestamp\":\"{}\",\"data\":{{", self.at);
                write(&mut body, head);
                write_id_and_status(about.id, Status::Progress.as_str(), &mut body);
                self.write_told(&mut body);
            }
            Format::CloudEvents => {
                // A request has many such events, and each needs an id of its own.
                let id = format!("{}.{sequence}", about.id);
                write_event_head(&id, about, (Status::Progress, self.at), &mut body);
                body.push(b'{');
                write_id_and_status(about.id, Status::Progress.as_str(), &mut body);
                self.write_told(&mut body);
            }
            // Replicate and Cog send this status with the event `output` or `logs`.
            Format::Replicate => {
                body.push(b'{');
                write_id_and_status(about.id, "processing", &mut body);
                write(&mut body, format_args!(",\"output\":null,\"error\":null,\"logs\":"));
                write_string(self.message.unwrap_or_default(), &mut body);
                self.write_told(&mut body);
            }
            // RunPod and fal send no webhook before the end. The words are those of their status.
            Format::RunPod => {
                body.push(b'{');
                write_id_and_status(about.id, "IN_PROGRESS", &mut body);
                self.write_told(&mut body);
            }
            Format::Fal => {
                write_fal_head(about.id, "IN_PROGRESS", &mut body);
                body.extend_from_slice(b"null");
                self.write_told(&mut body);
            }
        }
        write_sequence(about.sequence, &mut body);
        write_metadata(about.metadata, &mut body);
        let ends = if matches!(format, Format::Standard | Format::CloudEvents) { "}}" } else { "}" };
        body.extend_from_slice(ends.as_bytes());
        body.into()
    }

    /// Writes the member `progress`. What the handler has not told is null.
    fn write_told(&self, body: &mut Vec<u8>) {
        body.extend_from_slice(b",\"progress\":{\"fraction\":");
        match self.fraction.filter(|fraction| fraction.is_finite()) {
            // Serialising a number into a `Vec` does not fail.
            Some(fraction) => drop(serde_json::to_writer(&mut *body, &fraction)),
            None => body.extend_from_slice(b"null"),
        }
        body.extend_from_slice(b",\"message\":");
        match self.message {
            Some(message) => write_string(message, body),
            None => body.extend_from_slice(b"null"),
        }
        body.extend_from_slice(b",\"detail\":");
        body.extend_from_slice(self.detail.map_or(b"null", |detail| detail.bytes()));
        body.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::report::Outcome;

    const AT: Timestamp = Timestamp::from_micros(1_795_420_800_123_456);
    const ABOUT: About<'_> = About { id: "job-7", source: "/render", metadata: Some(r#"{"order":7}"#), sequence: None };

    fn of(detail: Option<&Json>, sequence: u64) -> OfProgress<'_> {
        OfProgress { fraction: Some(0.25), message: Some("page \"17\""), detail, sequence, at: AT }
    }

    /// The bodies of all forms are those of the files in `golden`. To write the files anew, set `UPDATE_GOLDEN`.
    #[test]
    fn bodies_are_those_of_the_golden_files() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/report/golden");
        let detail = Json::stored(br#"{"pages":34}"#.as_slice());
        for format in Format::ALL {
            let body = of(Some(&detail), 3).to_report_in(format, ABOUT);
            let value: Value = serde_json::from_slice(&body).unwrap();
            let data = if matches!(format, Format::Standard | Format::CloudEvents) { &value["data"] } else { &value };
            let told = json!({"fraction": 0.25, "message": "page \"17\"", "detail": {"pages": 34}});
            assert_eq!(
                (&data["progress"], &data["sequence"], &data["metadata"]["order"]),
                (&told, &json!(3), &json!(7))
            );
            let path = folder.join(format!("{format}-progress.json"));
            if option_env!("UPDATE_GOLDEN").is_some() {
                std::fs::write(&path, [&body[..], b"\n"].concat()).unwrap();
            }
            let golden = std::fs::read_to_string(&path).unwrap_or_default();
            assert_eq!(String::from_utf8_lossy(&body), golden.trim_end(), "{}", path.display());
        }
    }

    #[test]
    fn what_was_not_told_is_null_in_all_forms() {
        for format in Format::ALL {
            let nothing = OfProgress { fraction: None, message: None, ..of(None, 1) };
            let body = nothing.to_report_in(format, About { id: "1", ..About::default() });
            let value: Value = serde_json::from_slice(&body).unwrap();
            let data = value.get("data").unwrap_or(&value);
            assert_eq!(data["progress"], json!({"fraction": null, "message": null, "detail": null}));
            let bad = OfProgress { fraction: Some(f64::NAN), ..nothing };
            assert_eq!(bad.to_report_in(format, About { id: "1", ..About::default() }), body);
        }
    }

    #[test]
    fn the_report_of_the_end_has_a_greater_number_in_all_forms() {
        let number = |body: &[u8]| {
            let value: Value = serde_json::from_slice(body).unwrap();
            value.get("data").unwrap_or(&value)["sequence"].as_u64().unwrap()
        };
        for format in Format::ALL {
            let of_end = About { sequence: Some(LAST_SEQUENCE), ..ABOUT };
            let end = Outcome::cancelled(AT).to_report_in(format, of_end);
            assert_eq!(number(&end), LAST_SEQUENCE);
            for sequence in [1, u64::from(u32::MAX), u64::MAX] {
                assert!(number(&of(None, sequence).to_report_in(format, ABOUT)) < LAST_SEQUENCE, "{format} {sequence}");
            }
        }
    }
}
