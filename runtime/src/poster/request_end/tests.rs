//! Tests of what the caller brought: it reaches the reports, and no others.

use super::*;
use postback_wire::time::Timestamp;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

fn end(outcome: Outcome, registered: &[&str], extras: &Extras) -> RequestEnd {
    let webhooks = registered.iter().map(|url| Target::parse(url)).collect();
    let registered = Registered { webhooks, on: Ends::default(), tells_reason: false };
    RequestEnd::new(
        &RequestId::stored("r"),
        outcome,
        Some(registered),
        Some(extras),
        String::new(),
        &Formats::default(),
    )
}

fn done() -> Outcome {
    Outcome::completed(None, Timestamp::from_micros(1))
}

#[test]
fn the_webhook_of_the_caller_is_reported_to_beside_the_handlers_own() {
    let extras = Extras { webhook: Some("https://caller.example/in".into()), ..Extras::default() };
    let reports = end(done(), &["https://a.example/in"], &extras).reports;
    assert_eq!(
        reports.iter().map(|r| r.to.url()).collect::<Vec<_>>(),
        ["https://a.example/in", "https://caller.example/in"]
    );
    assert!(!reports[1].to.webhook().unwrap().is_operator());
    assert_eq!(end(done(), &["https://caller.example/in"], &extras).reports.len(), 1);
    let dropped = Outcome::failed(postback_wire::report::Reason::Dropped, None, Timestamp::from_micros(1));
    assert!(end(dropped, &["https://a.example/in"], &extras).reports.is_empty());
}

#[test]
fn every_report_has_the_metadata_and_the_trace() {
    let metadata = Some(r#"{"order":7}"#.into());
    let (traceparent, tracestate) = (Some(PARENT.into()), Some("a=1".into()));
    let extras = Extras { metadata, traceparent, tracestate, webhook: None };
    for report in end(done(), &["https://a.example/in", "https://b.example/in"], &extras).reports {
        assert_eq!(report.body, r#"{"id":"r","status":"completed","metadata":{"order":7}}"#);
        let headers = &report.to.webhook().unwrap().own().headers;
        let parent = headers[TRACEPARENT].to_str().unwrap();
        assert!(parent.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && parent.ends_with("-00"), "{parent}");
        assert!(!parent.contains("00f067aa0ba902b7"), "the span is the report's own: {parent}");
        assert_eq!(headers[TRACESTATE], "a=1");
    }
}

#[test]
fn headers_that_the_user_has_set_stay() {
    let webhook = Webhook::new("https://a.example/in").unwrap().header(TRACEPARENT, "mine").unwrap();
    let registered = Registered { webhooks: vec![webhook.into()], on: Ends::default(), tells_reason: false };
    let extras = Extras { traceparent: Some(PARENT.into()), ..Extras::default() };
    let end = RequestEnd::new(
        &RequestId::stored("r"),
        done(),
        Some(registered),
        Some(&extras),
        String::new(),
        &Formats::default(),
    );
    assert_eq!(end.reports[0].to.webhook().unwrap().own().headers[TRACEPARENT], "mine");
}
