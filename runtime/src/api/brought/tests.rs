//! Tests of each header: what is taken, and what is refused with the name of the header.

use std::panic::Location;

use super::*;
use crate::handler::{Routes, Shared, States, Unbound};
use crate::problem::Form;
use http::HeaderName;
use http_body_util::BodyExt as _;

const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

async fn nothing() -> Result<(), String> {
    Ok(())
}

fn route(open: bool) -> Arc<Route> {
    let mut unbound: Unbound<()> = Unbound::new("/a".to_owned(), nothing, Location::caller());
    if open {
        unbound.allow_caller_webhook();
        unbound.limit(|limits| (limits.allow_priority, limits.priority) = (Some(true), Some(7)));
    }
    let shared = Arc::new(Shared { settings: Arc::new(()), states: States::default() });
    Routes::bind(vec![unbound], &shared).ok().unwrap().get("/a").unwrap().clone()
}

fn brought_of(route: &Route, headers: &[(&str, &str)]) -> Result<Brought, Problem> {
    let guard = Guard::default();
    let (caller, timeout) = (Caller::default(), Duration::from_mins(10));
    let context = Context { route, caller: &caller, guard: &guard, now: NOW, timeout, accept_ids: true };
    let pair = |(name, value): &(&str, &str)| {
        (HeaderName::try_from(*name).unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap())
    };
    let mut map = HeaderMap::new();
    for (name, value) in headers.iter().map(pair) {
        map.append(name, value);
    }
    Brought::of(&map, &context)
}

fn brought(name: &str, value: &str) -> Brought {
    brought_of(&route(true), &[(name, value)]).unwrap()
}

async fn refused_of(route: &Route, headers: &[(&str, &str)]) -> serde_json::Value {
    let response = brought_of(route, headers).err().unwrap().respond(Form::Json);
    serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
}

#[test]
fn without_headers_the_route_decides() {
    let none = brought_of(&route(true), &[("content-type", "application/json")]).unwrap();
    assert_eq!(none.terms, Terms { priority: 7, ..Terms::default() });
    assert!(none.id.is_none() && none.key.is_none() && none.extras.is_none());
}

#[test]
fn keys_are_taken_with_and_without_quotes() {
    for (value, key) in [("abc", "abc"), ("\"abc\"", "abc"), (r#""a\"b\\c""#, r#"a"b\c"#), ("a b", "a b")] {
        assert_eq!(super::key(value).ok().unwrap(), key);
        let expected = IdempotencyKey::new(&Caller::default().owner(), "/a", key);
        assert_eq!(brought("idempotency-key", value).key, Some(expected));
    }
    assert!(brought("idempotency-key", &"k".repeat(255)).key.is_some());
}

#[test]
fn times_are_absolute_or_ahead() {
    let ahead = NOW.saturating_add(Duration::from_mins(10));
    assert_eq!(brought("postback-run-at", "+10m").terms.run_at, Some(ahead));
    assert_eq!(brought("postback-run-at", "2027-01-15T08:10:00Z").terms.run_at, Some(ahead));
    assert_eq!(brought("postback-run-at", "2027-01-15T09:10:00+01:00").terms.run_at, Some(ahead));
    assert_eq!(brought("postback-run-at", "2020-01-01T00:00:00Z").terms.run_at, None);
    assert_eq!(brought("postback-deadline", "+10min").terms.deadline, Some(ahead));
    assert_eq!(brought("postback-timeout", "1m 30s").terms.timeout, Some(Duration::from_secs(90)));
    assert_eq!(brought("postback-priority", "-100").terms.priority, -100);
}

#[test]
fn extras_are_kept_as_they_are() {
    let metadata = r#" {"order": 7, "name": "ü"} "#;
    assert_eq!(brought("postback-metadata", metadata).extras.unwrap().metadata.as_deref(), Some(metadata.trim()));
    let url = brought("postback-webhook", "https://a.example/in?x=1").extras.unwrap();
    assert_eq!(url.webhook.as_deref(), Some("https://a.example/in?x=1"));
    assert_eq!(brought("x-request-id", "job-7").id.unwrap().as_str(), "job-7");
}

#[test]
fn a_trace_is_kept_if_it_is_valid() {
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let route = route(false);
    let headers = [("traceparent", parent), ("tracestate", "a=1"), ("tracestate", "b=2")];
    let extras = brought_of(&route, &headers).unwrap().extras.unwrap();
    assert_eq!((extras.traceparent.as_deref(), extras.tracestate.as_deref()), (Some(parent), Some("a=1,b=2")));
    for headers in [&[("traceparent", "nonsense"), ("tracestate", "a=1")][..], &[("traceparent", parent); 2][..]] {
        assert!(brought_of(&route, headers).unwrap().extras.is_none());
    }
}

#[tokio::test]
async fn each_wrong_header_is_named() {
    let long = "k".repeat(256);
    let large = format!("\"{}\"", "m".repeat(4_095));
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let wrong = [
        ("idempotency-key", &*long),
        ("idempotency-key", "\"open"),
        ("idempotency-key", "\"\""),
        ("idempotency-key", "\"a\"b"),
        ("idempotency-key", r#""a\b""#),
        ("idempotency-key", " "),
        ("idempotency-key", "ü"),
        ("x-request-id", "a/b"),
        ("x-request-id", ".a"),
        ("postback-run-at", "tomorrow"),
        ("postback-run-at", "10m"),
        ("postback-run-at", "+2y"),
        ("postback-run-at", "2027-01-15 08:10"),
        ("postback-run-at", "9999-12-31T23:59:59Z"),
        ("postback-deadline", "2020-01-01T00:00:00Z"),
        ("postback-deadline", "+0s"),
        ("postback-timeout", "0s"),
        ("postback-timeout", "10m 1s"),
        ("postback-timeout", "fast"),
        ("postback-priority", "101"),
        ("postback-priority", "-101"),
        ("postback-priority", "1.5"),
        ("postback-metadata", "{"),
        ("postback-metadata", "nothing"),
        ("postback-metadata", &large),
        ("postback-metadata", &deep),
        ("postback-webhook", "ftp://a.example/"),
        ("postback-webhook", "http://127.0.0.1/in"),
        ("postback-webhook", "http://user@a.example/"),
    ];
    let route = route(true);
    for (name, value) in wrong {
        let document = refused_of(&route, &[(name, value)]).await;
        assert_eq!((&document["header"], &document["status"]), (&name.into(), &400.into()), "{value}: {document}");
        assert!(document["detail"].as_str().unwrap().contains(name), "{document}");
    }
    let twice = refused_of(&route, &[("postback-priority", "1"), ("postback-priority", "1")]).await;
    assert!(twice["detail"].as_str().unwrap().ends_with("more than once"), "{twice}");
    let late = refused_of(&route, &[("postback-run-at", "+10m"), ("postback-deadline", "+5m")]).await;
    assert_eq!(late["header"], "postback-deadline");
}

#[tokio::test]
async fn what_the_route_does_not_allow_is_refused() {
    let route = route(false);
    for (name, value) in [("postback-webhook", "https://a.example/in"), ("postback-priority", "1")] {
        let document = refused_of(&route, &[(name, value)]).await;
        assert_eq!((&document["header"], &document["code"]), (&name.into(), &"invalid_header".into()));
        assert!(document["detail"].as_str().unwrap().contains("not allowed by this route"), "{document}");
    }
}

#[test]
fn ids_of_callers_are_ignored_unless_the_setting_is_on() {
    let (route, guard, caller) = (route(false), Guard::default(), Caller::default());
    let timeout = Duration::MAX;
    let context = Context { route: &route, caller: &caller, guard: &guard, now: NOW, timeout, accept_ids: false };
    let headers = HeaderMap::from_iter([(HeaderName::from_static("x-request-id"), HeaderValue::from_static("a/b"))]);
    assert!(Brought::of(&headers, &context).unwrap().id.is_none());
}
