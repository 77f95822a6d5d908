//! Traces: what a collector gets, and what happens if there is none.

use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind};
use postback_tests::{Answer, Receiver, eventually, eventually_async};
use prost::Message as _;
use serde_json::json;

use crate::support::Server;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What an attribute says, as text.
fn attribute(attributes: &[KeyValue], key: &str) -> String {
    let value = attributes.iter().find(|attribute| attribute.key == key).and_then(|attribute| attribute.value.clone());
    match value {
        Some(AnyValue { value: Some(Value::StringValue(text)) }) => text,
        Some(AnyValue { value: Some(Value::IntValue(number)) }) => number.to_string(),
        other => format!("{other:?}"),
    }
}

/// All spans that the collector has, each with the name of its service.
fn collected(collector: &Receiver) -> Vec<(String, Span)> {
    let mut spans = Vec::new();
    for message in collector.all() {
        assert_eq!(
            (message.path.as_str(), message.header("content-type")),
            ("/otlp/v1/traces", "application/x-protobuf")
        );
        assert_eq!(message.header("api-key"), "k3y of mine");
        for resource in ExportTraceServiceRequest::decode(message.body).unwrap().resource_spans {
            let service = attribute(&resource.resource.unwrap().attributes, "service.name");
            let of_scopes = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            spans.extend(of_scopes.map(|span| (service.clone(), span)));
        }
    }
    spans
}

/// Waits until the collector has `n` spans of this trace.
fn trace(collector: &Receiver, trace: &str, n: usize) -> Vec<Span> {
    eventually(&format!("{n} spans of {trace}"), || {
        let of_trace = collected(collector).into_iter().filter(|(_, span)| hex(&span.trace_id) == trace);
        let spans: Vec<_> = of_trace.map(|(_, span)| span).collect();
        if spans.len() >= n { Ok(spans) } else { Err(collected(collector).len()) }
    })
}

fn named<'s>(spans: &'s [Span], name: &str) -> &'s Span {
    let found: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
    assert_eq!(found.len(), 1, "{name} in {spans:#?}");
    found[0]
}

fn settings(collector: &str, receiver: &str) -> String {
    format!(
        "[config]\nwebhook_url = {receiver:?}\n[worker]\nconcurrency = 1\n[telemetry]\nservice_name = \"traced\"\n\
         otlp_endpoint = {collector:?}\notlp_headers = \"api-key=k3y%20of%20mine\"\n[shutdown]\ngrace = \"0s\"\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_one_trace_across_a_restart() {
    let (collector, receiver) = (Receiver::start(), Receiver::start());
    let mut server = Server::start(&settings(&collector.url("/otlp/"), &receiver.url("/")));
    // This request occupies the worker, so that the other one waits until the restart.
    let gated = server.submit("/gated", json!({"gate": "gate", "text": "free"})).await;
    server.running("/gated", &gated).await;
    let parent = format!("00-{TRACE}-{CALLER}-01");
    let id = server.submit_with("/logging", json!({"text": "x"}), &[("traceparent", &parent)]).await;
    server.stop();
    let submitted = trace(&collector, TRACE, 1);
    assert_eq!(submitted.len(), 1, "the spans that waited were sent at the stop: {submitted:#?}");
    server.open("gate");
    server.restart();

    let header = receiver.wait_for(&id).header("traceparent").to_owned();
    let spans = trace(&collector, TRACE, 4);
    let [submit, queue, run, deliver] =
        ["POST /logging", "queue /logging", "process /logging", "POST"].map(|name| named(&spans, name));
    assert_eq!(hex(&submit.parent_span_id), CALLER);
    assert_eq!((&queue.parent_span_id, &run.parent_span_id), (&submit.span_id, &submit.span_id));
    assert_eq!(deliver.parent_span_id, run.span_id);
    assert_eq!(header, format!("00-{TRACE}-{}-01", hex(&deliver.span_id)), "the receiver continues below its attempt");
    assert!(
        queue.start_time_unix_nano < queue.end_time_unix_nano && queue.end_time_unix_nano <= run.end_time_unix_nano
    );
    let kinds = [submit, queue, run, deliver].map(Span::kind);
    assert_eq!(kinds, [SpanKind::Server, SpanKind::Internal, SpanKind::Consumer, SpanKind::Client]);
    for span in [submit, queue, run, deliver] {
        assert_eq!(
            (attribute(&span.attributes, "request_id"), attribute(&span.attributes, "route")),
            (id.clone(), "/logging".into())
        );
        assert_eq!(attribute(&span.attributes, "messaging.system"), "postback");
    }
    assert_eq!(attribute(&submit.attributes, "http.response.status_code"), "200");
    assert_eq!(attribute(&deliver.attributes, "http.response.status_code"), "204");
    assert_eq!(attribute(&deliver.attributes, "url.full"), receiver.url("/"));
    assert_eq!(
        (attribute(&run.attributes, "attempt"), attribute(&run.attributes, "outcome")),
        ("1".into(), "failed".into())
    );
    let lines: Vec<_> = run.events.iter().map(|event| event.name.as_str()).collect();
    assert!(lines.contains(&"at the start") && lines.contains(&"in a task"), "the handler's own lines: {lines:?}");
    assert!(collected(&collector).iter().all(|(service, _)| service == "traced"));
    let log = server.process.output();
    assert!(!log.contains("process /logging") && !log.contains("k3y"), "the log is as without traces: {log}");

    // A request whose caller has begun no trace has a trace with its own id. A failed run says so.
    let id = server.submit("/fail", json!({"text": "no"})).await;
    let spans = trace(&collector, &id.replace('-', ""), 4);
    let run = named(&spans, "process /fail");
    assert_eq!((run.status.as_ref().unwrap().code, attribute(&run.attributes, "error.type")), (2, "error".into()));
    assert!(named(&spans, "POST /fail").parent_span_id.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_hangs_harms_nothing() {
    let (collector, receiver) = (Receiver::answering(|_, _| Answer::Hang), Receiver::start());
    let mut server = Server::start(&settings(&collector.url("/otlp"), &receiver.url("/")));
    for n in 0..20 {
        server.submit("/echo", json!({"text": n.to_string()})).await;
    }
    receiver.wait(20);
    collector.wait(1);
    server.submit("/echo", json!({"text": "again"})).await;
    receiver.wait(21);
    let begun = Instant::now();
    server.stop();
    // The stop waits for the collector at most a second. The bound is loose, because machines are slow at times.
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    let log = server.process.output();
    assert!(log.contains("the last spans could not be sent"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_refuses_is_told_once_and_counted() {
    let (collector, receiver) = (Receiver::answering(|_, _| Answer::Status(401)), Receiver::start());
    let public = "[server]\npublic = [\"metrics\"]\n";
    let settings = format!("{public}{}", settings(&collector.url("/otlp"), &receiver.url("/")));
    let mut server = Server::start(&settings);
    server.submit("/echo", json!({"text": "1"})).await;
    server.process.wait_for("traces cannot be sent to");
    server.submit("/echo", json!({"text": "2"})).await;
    collector.wait(2);
    eventually_async("a count of lost spans", async || {
        let metrics = server.client.get(server.path("/metrics")).send().await.unwrap().text().await.unwrap();
        if metrics.contains("\npostback_spans_lost_total{reason=\"refused\"} ") { Ok(()) } else { Err(metrics) }
    })
    .await;
    let log = server.process.output();
    assert_eq!(log.matches("traces cannot be sent to").count(), 1, "{log}");
    assert!(log.contains("it answered 401 Unauthorized"), "{log}");
}
