//! Webhooks for the tests of the inspector.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, Version};

use super::hit::{Hit, inbox};
use super::show::Report;
use super::signature;
use postback_wire::time::Timestamp;

pub(super) fn hit(path: &str, headers: &[(&'static str, &str)], body: &[u8]) -> Hit {
    let uri: http::Uri = path.parse().unwrap();
    let pairs = headers.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
    let headers = pairs.collect();
    let report = Report::of(body);
    let received = Timestamp::from_micros(1_700_000_000_000_000);
    Hit {
        number: 0,
        inbox: inbox(uri.path()),
        method: http::Method::POST,
        signature: signature::check(&[], &headers, body, received),
        uri,
        version: Version::HTTP_11,
        headers,
        body: Bytes::copy_from_slice(body),
        received,
        arriving: Duration::from_millis(1),
        attempt: 1,
        id: report.id(),
        status: report.status(),
        form: report.form(),
        problem: None,
    }
}
