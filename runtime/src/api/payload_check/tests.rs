//! Tests what the API answers if the user's code panics while a body is checked.

use std::panic::{Location, panic_any};

use axum::body::Body;
use axum::extract::Request;
use http::StatusCode;
use http::header::{ACCEPT, CONTENT_TYPE};
use serde::{Deserialize, Deserializer};
use tower::ServiceExt as _;

use super::*;
use crate::access::{self, Access};
use crate::api::{MetricsAccess, Options, Rules, Served, Server, Stops, router};
use crate::handler::{Payload, Routes, Shared, States, Unbound};
use crate::panics::contain;
use crate::policy::guard::Guard;
use postback_store::shutdown::Shutdown;
use postback_store::{self as store, Store};
use postback_wire::id::NodeId;
use postback_wire::time::Clock;

/// A payload whose `Deserialize` implementation panics with a text.
struct PanicsWithText;

impl<'de> Deserialize<'de> for PanicsWithText {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic!("in deserialize")
    }
}

/// A payload whose `Deserialize` implementation panics with a value. The `Drop` of this value panics again.
struct PanicsWithBomb;

impl<'de> Deserialize<'de> for PanicsWithBomb {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic_any(Bomb)
    }
}

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("in drop");
    }
}

async fn with_text(_: Payload<PanicsWithText>) -> Result<(), String> {
    Ok(())
}

async fn with_bomb(_: Payload<PanicsWithBomb>) -> Result<(), String> {
    Ok(())
}

/// A payload that takes longer to read than a check may take. It tells on which threads it was read.
struct Slow;

static READ_ON: Mutex<Vec<std::thread::ThreadId>> = Mutex::new(Vec::new());

impl<'de> Deserialize<'de> for Slow {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        READ_ON.lock().unwrap().push(std::thread::current().id());
        std::thread::sleep(SLOW);
        serde::de::IgnoredAny::deserialize(from).map(|_| Self)
    }
}

async fn slow(_: Payload<Slow>) -> Result<(), String> {
    Ok(())
}

async fn server() -> Server {
    let location = store::Location::Memory { reports: 100, bytes: 1 << 20, kept: 100 };
    let store = Store::open(store::Options::at(location), NodeId::generate(), Clock::system()).await.unwrap();
    let shared = Arc::new(Shared { settings: Arc::new(()), states: States::default() });
    let unbound = vec![
        Unbound::new("/text".into(), with_text, Location::caller()),
        Unbound::new("/bomb".into(), with_bomb, Location::caller()),
        Unbound::new("/slow".into(), slow, Location::caller()),
    ];
    let options =
        Options { listen: ([127, 0, 0, 1], 0).into(), max_payload: 1 << 20, connections: 1, accept_ids: false };
    let stops = Stops { draining: Shutdown::new(), grace: Duration::ZERO, shutdown: Shutdown::new() };
    let served = Served::new("tests", "0.0.0", Routes::bind(unbound, &shared).ok().unwrap());
    let access =
        Access::start(&access::Options::default(), &store, Clock::system(), Some(options.listen)).await.unwrap();
    let metrics = MetricsAccess { metrics: None, is_operator: Box::new(|_, _| None) };
    let (guard, run_timeout) = (Guard::new(Vec::new()), Box::new(|| Duration::MAX));
    let rules = Rules { access, guard, run_timeout, metrics, public_keys: Box::new(Vec::new) };
    Server::new(store, Clock::system(), served, options, rules, stops)
}

#[tokio::test]
async fn a_panic_in_the_payloads_code_is_answered_with_a_problem() {
    let api = server().await.api;
    for path in ["/text", "/bomb"] {
        for bytes in [2, SMALL + 2] {
            let request = Request::post(path)
                .header(CONTENT_TYPE, "application/json")
                .header(ACCEPT, "application/problem+json")
                .body(Body::from(format!("\"{}\"", "x".repeat(bytes - 2))));
            // The panic must be caught. Otherwise the panic would end the task that serves the connection.
            let answer = contain(router(&api, None).oneshot(request.unwrap())).await;
            let answer = answer.unwrap_or_else(|text| panic!("{path} with {bytes} bytes panicked: {text}"));
            let Ok(answer) = answer;
            assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR, "{path} with {bytes} bytes");
            let content_type = &answer.headers()[CONTENT_TYPE];
            assert_eq!(content_type, "application/problem+json", "{path} with {bytes} bytes");
        }
    }
}

#[tokio::test]
async fn slow_payloads_are_read_on_other_threads_after_three() {
    let api = server().await.api;
    // When it was bound, the route asked its type what kind of body it reads.
    READ_ON.lock().unwrap().clear();
    for _ in 0..5 {
        let request = Request::post("/slow").header(CONTENT_TYPE, "application/json").body(Body::from("{}")).unwrap();
        assert_eq!(contain(router(&api, None).oneshot(request)).await.unwrap().unwrap().status(), StatusCode::OK);
    }
    let here = std::thread::current().id();
    let read_here: Vec<_> = READ_ON.lock().unwrap().iter().map(|thread| *thread == here).collect();
    assert_eq!(read_here, [true, true, true, false, false]);
}

/// On a busy machine, any check takes long now and then, because its thread had to wait for a processor.
#[test]
fn a_route_is_not_slow_because_of_checks_that_took_long_now_and_then() {
    let (busy, slow) = ("/busy", "/slow");
    let routes = SlowRoutes::default();
    for milliseconds in [20, 20, 0, 0, 20, 20, 0] {
        routes.took(busy, Duration::from_millis(milliseconds));
        assert!(!routes.contains(busy));
    }
    for _ in 0..3 {
        routes.took(slow, SLOW);
    }
    routes.took(slow, Duration::ZERO);
    assert!(routes.contains(slow), "it was read on another thread, so a fast check says nothing");
    assert!(!routes.contains(busy));
    // A few fast checks among slow ones do not help.
    let mixed = "/mixed";
    for milliseconds in [20, 20, 0, 20] {
        routes.took(mixed, Duration::from_millis(milliseconds));
    }
    assert!(!routes.contains(mixed));
    routes.took(mixed, SLOW);
    assert!(routes.contains(mixed));
}
