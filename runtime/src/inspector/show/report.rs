//! Reads from a body what is shown of a report: the id of its request, its status, and the form that it has.

use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::MAX_TEXT;
use postback_wire::report::Format;

/// The words of the status in a report of the form `runpod`.
const OF_RUNPOD: [&str; 5] = ["COMPLETED", "FAILED", "TIMED_OUT", "CANCELLED", "IN_PROGRESS"];
/// The words of the status in a report of the usual form.
const OF_CORTEX: [&str; 4] = ["completed", "failed", "cancelled", "progress"];

/// The members of a report that are shown, or that tell its form. The other members are not parsed into values, because
/// they may be large.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(in crate::inspector) struct Report {
    id: Member,
    status: Member,
    /// A report of the forms `standard` and `cloudevents` has its members in here.
    data: Member,
    #[serde(rename = "type")]
    kind: Member,
    specversion: Member,
    request_id: Member,
    gateway_request_id: Member,
    logs: Member,
}

impl Report {
    /// Reads the members of a body. If the body is not a JSON object, they are empty.
    pub(in crate::inspector) fn of(body: &[u8]) -> Self {
        serde_json::from_slice(body).unwrap_or_default()
    }

    /// Returns the id of the request.
    pub(in crate::inspector) fn id(&self) -> String {
        match self.form() {
            Some(Format::Standard | Format::CloudEvents) => self.data.id.clone(),
            Some(Format::Fal) => self.request_id.text.clone(),
            _ => self.id.text.clone(),
        }
    }

    pub(in crate::inspector) fn status(&self) -> String {
        match self.form() {
            Some(Format::Standard | Format::CloudEvents) => self.data.status.clone(),
            _ => self.status.text.clone(),
        }
    }

    /// Returns the form of the report, as far as the members tell it. `None`: the body has none of the forms.
    pub(in crate::inspector) fn form(&self) -> Option<Format> {
        let status = self.status.text.as_str();
        if self.kind.text.starts_with("postback.request.") && self.specversion.is_there {
            Some(Format::CloudEvents)
        } else if self.kind.text.starts_with("request.") && self.data.is_there {
            Some(Format::Standard)
        } else if self.request_id.is_there && self.gateway_request_id.is_there {
            Some(Format::Fal)
        } else if !self.id.is_there {
            None
        } else if self.logs.is_there && self.status.is_there {
            Some(Format::Replicate)
        } else if OF_RUNPOD.contains(&status) {
            Some(Format::RunPod)
        } else {
            OF_CORTEX.contains(&status).then_some(Format::Cortex)
        }
    }
}

/// A JSON member whose value may have any type.
#[derive(Default)]
struct Member {
    is_there: bool,
    /// The value, if it is a short string. Otherwise it is empty.
    text: String,
    /// The member `id` of the value, if that is a short string.
    id: String,
    /// The member `status` of the value, if that is a short string.
    status: String,
}

impl<'de> Deserialize<'de> for Member {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let found = deserializer.deserialize_any(Anything)?;
        Ok(Self { is_there: true, ..found })
    }
}

struct Anything;

impl<'de> Visitor<'de> for Anything {
    type Value = Member;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_str<E>(self, text: &str) -> Result<Member, E> {
        let text = if text.len() <= MAX_TEXT { text.to_owned() } else { String::new() };
        Ok(Member { text, ..Member::default() })
    }

    fn visit_bool<E>(self, _: bool) -> Result<Member, E> {
        Ok(Member::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Member, E> {
        Ok(Member::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Member, E> {
        Ok(Member::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Member, E> {
        Ok(Member::default())
    }

    fn visit_unit<E>(self) -> Result<Member, E> {
        Ok(Member::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Member, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Member::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Member, A::Error> {
        let mut found = Member::default();
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "id" => found.id = map.next_value::<Member>()?.text,
                "status" => found.status = map.next_value::<Member>()?.text,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use postback_wire::report::{About, OfProgress, Outcome};
    use postback_wire::time::Timestamp;

    use super::*;

    #[test]
    fn each_form_is_known_with_the_id_and_the_status() {
        let at = Timestamp::from_micros(0);
        let about = About { id: "7", source: "/r", ..About::default() };
        let progress = OfProgress { fraction: Some(0.5), message: None, detail: None, sequence: 1, at };
        for format in Format::ALL {
            let (end, told) =
                (Outcome::cancelled(at).to_report_in(format, about), progress.to_report_in(format, about));
            for body in [end, told] {
                let report = Report::of(&body);
                assert_eq!((report.form(), report.id().as_str()), (Some(format), "7"), "{body:?}");
                assert!(!report.status().is_empty(), "{body:?}");
            }
        }
    }

    #[test]
    fn what_is_no_report_has_no_form() {
        for (body, id, status) in [
            (r#"{"id":"7","status":"open"}"#, "7", "open"),
            (r#"{"type":"request.completed","data":7}"#, "", ""),
            (r#"{"type":"invoice.paid","data":{"id":"7"}}"#, "", ""),
            (r#"{"id":{"id":{"id":1}},"status":["completed"]}"#, "", ""),
            ("[]", "", ""),
            ("x", "", ""),
        ] {
            let report = Report::of(body.as_bytes());
            assert_eq!((report.id().as_str(), report.status().as_str()), (id, status), "{body}");
        }
        assert_eq!(Report::of(br#"{"id":"7","status":"open"}"#).form(), None);
        assert_eq!(Report::of(br#"{"type":"invoice.paid","data":{"id":"7"}}"#).form(), None);
    }
}
