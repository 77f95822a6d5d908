//! Values of the user that panic when a run polls or drops them. Each request ends with a report, and its slot becomes
//! free.

use std::future::pending;
use std::panic::panic_any;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use serde::{Deserialize, Serialize};

use super::*;
use crate::async_handler;
use crate::handler::{Config, Payload};

const HOOK: &str = "https://example.com/hook";

/// A value whose `Drop` panics.
#[derive(Debug, Deserialize)]
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("in drop");
    }
}

impl Serialize for Bomb {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("a bomb")
    }
}

impl std::fmt::Display for Bomb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a bomb")
    }
}

/// A future that returns at its first poll, or panics if `panics` is true. Its `Drop` always panics.
struct BombFuture {
    panics: bool,
    _bomb: Bomb,
}

impl Future for BombFuture {
    type Output = Result<u8, String>;

    fn poll(self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<Self::Output> {
        assert!(!self.panics, "in poll");
        Poll::Ready(Ok(1))
    }
}

async fn payload_is_dropped(_: Payload<Bomb>) -> Result<(), String> {
    Ok(())
}

async fn local_is_dropped() -> Result<(), String> {
    let _bomb = Bomb;
    Ok(())
}

async fn output_is_dropped() -> Result<Bomb, String> {
    Ok(Bomb)
}

async fn error_is_dropped() -> Result<(), Bomb> {
    Err(Bomb)
}

fn future_is_dropped() -> impl Future<Output = Result<u8, String>> {
    BombFuture { panics: false, _bomb: Bomb }
}

fn future_panics_twice() -> impl Future<Output = Result<u8, String>> {
    BombFuture { panics: true, _bomb: Bomb }
}

async fn has_nothing() -> Result<(), String> {
    Ok(())
}

async fn message_is_dropped() -> Result<(), String> {
    panic_any(Bomb)
}

async fn call_panics_with_a_bomb_in_display() -> Result<(), DisplayPanics> {
    Err(DisplayPanics)
}

struct DisplayPanics;

impl std::fmt::Display for DisplayPanics {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic_any(Bomb)
    }
}

async fn waits() -> Result<(), String> {
    let _bomb = Bomb;
    pending().await
}

/// Annotated functions of each kind: functions with `.await`, functions without `.await`, and functions that return a
/// future.
mod annotated {
    use super::*;

    #[async_handler(webhook = HOOK)]
    pub(super) async fn local_is_dropped(request_id: RequestId) -> Result<(), String> {
        let _bomb = Bomb;
        Ok(())
    }

    #[async_handler(webhook = HOOK)]
    pub(super) async fn local_is_dropped_after_await(request_id: RequestId) -> Result<(), String> {
        let _bomb = Bomb;
        tokio::task::yield_now().await;
        Ok(())
    }

    #[async_handler(webhook = HOOK)]
    pub(super) async fn output_is_dropped(request_id: RequestId) -> Result<Bomb, String> {
        Ok(Bomb)
    }

    #[async_handler(webhook = HOOK, error = display)]
    pub(super) async fn error_is_dropped(request_id: RequestId) -> Result<(), Bomb> {
        Err(Bomb)
    }

    #[async_handler(webhook = HOOK)]
    pub(super) async fn payload_is_dropped(_payload: Payload<Bomb>, request_id: RequestId) -> Result<(), String> {
        Ok(())
    }

    #[async_handler(webhook = HOOK)]
    pub(super) async fn message_is_dropped(request_id: RequestId) -> Result<(), String> {
        panic_any(Bomb)
    }

    #[async_handler(webhook = config.0)]
    pub(super) async fn waits_with_payload(
        config: Config<(String,)>,
        _payload: Payload<Bomb>,
        request_id: RequestId,
    ) -> Result<(), String> {
        pending().await
    }

    #[async_handler(webhook = config.0)]
    pub(super) async fn has_payload(
        config: Config<(String,)>,
        _payload: Payload<Bomb>,
        request_id: RequestId,
    ) -> Result<(), String> {
        Ok(())
    }
}

fn app() -> App<(String,)> {
    App::new((HOOK.to_owned(),))
}

async fn submit_null(context: &Context) -> RequestId {
    submit_with(context, HeaderMap::new(), Bytes::from_static(b"null")).await
}

/// Runs a claimed request in the only slot of a node, and checks that the slot is free again after the run.
async fn run_in_a_slot(context: &Arc<Context>, row: ClaimedRequest) {
    let slots = Slots::new(1, &context.routes);
    let slot = slots.take(room(&slots), None);
    run(Arc::clone(context), row, slot).await;
    let free = Arc::clone(&slots.all).acquire_owned();
    drop(tokio::time::timeout(Duration::from_secs(10), free).await.expect("the slot is free").unwrap());
    assert_eq!(slots.reserve(0).load("/a").running, 0);
}

/// Checks that the request is settled with this status and this reason, and has exactly one report.
async fn ended(context: &Context, id: &RequestId, status: Status, reason: Reason, handler: &str) {
    let store = context.outbox.store();
    let state = store.request(id).await.unwrap().unwrap().state;
    let RequestState::Settled(outcome) = &state else { panic!("{handler}: {state:?}") };
    assert_eq!((outcome.status, outcome.reason), (status, reason), "{handler}: {outcome:?}");
    assert_eq!(store.deliveries(id.as_str()).await.unwrap().len(), 1, "{handler}");
}

macro_rules! outcomes_are {
    ($reason:expr; $($($handler:ident)::+),*) => {$({
        let context = context_of(app().route("/a", $($handler)::+).webhook(HOOK), 1).await;
        let id = submit_null(&context).await;
        run_in_a_slot(&context, claim(&context).await).await;
        ended(&context, &id, Status::Failed, $reason, stringify!($($handler)::+)).await;
    })*};
}

#[tokio::test]
async fn a_panic_in_a_drop_during_a_run_is_a_failure_with_a_report() {
    outcomes_are!(Reason::Panic;
        payload_is_dropped, local_is_dropped, output_is_dropped, error_is_dropped, future_is_dropped,
        annotated::local_is_dropped, annotated::local_is_dropped_after_await, annotated::output_is_dropped,
        annotated::error_is_dropped, annotated::payload_is_dropped
    );
}

#[tokio::test]
async fn a_panic_whose_message_panics_when_it_is_dropped_is_a_failure_with_a_report() {
    outcomes_are!(Reason::Panic; message_is_dropped, annotated::message_is_dropped);
    outcomes_are!(Reason::Error; call_panics_with_a_bomb_in_display);
}

#[tokio::test]
async fn a_future_that_panics_when_it_is_polled_and_when_it_is_dropped_does_not_abort_the_process() {
    outcomes_are!(Reason::Panic; future_panics_twice);
}

#[tokio::test]
async fn a_panic_in_a_drop_after_the_time_limit_leaves_the_timeout_as_the_outcome() {
    let context = context_of(app().route("/a", waits).webhook(HOOK), 1).await;
    let options = Options { timeout: Duration::from_millis(10), ..context.options.get() };
    let context = Arc::into_inner(context).unwrap();
    let context = Arc::new(Context { options: crate::worker::LiveOptions::new(options), ..context });
    let id = submit_null(&context).await;
    run_in_a_slot(&context, claim(&context).await).await;
    ended(&context, &id, Status::Failed, Reason::Timeout, "waits").await;
}

#[tokio::test]
async fn a_panic_in_a_drop_after_a_cancel_leaves_the_request_cancelled() {
    let context = context_of(app().route("/a", waits).webhook(HOOK), 1).await;
    let id = submit_null(&context).await;
    let row = claim(&context).await;
    let cancelling = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(cancel(&context, &id).await, Cancelled::Stopping);
    };
    tokio::join!(run_in_a_slot(&context, row), cancelling);
    is_cancelled(&context, &id).await;
}

/// The worker asks a handler for the webhook of a request that never runs, and the handler's parameters are dropped
/// after that. In this test, the drop panics, but the request is still reported to the webhook.
#[tokio::test]
async fn a_panic_in_a_drop_while_a_handler_is_asked_keeps_its_webhook() {
    for app in [app().route("/a", annotated::waits_with_payload), app().route("/a", annotated::has_payload)] {
        let context = context_of(app, 1).await;
        let id = submit_null(&context).await;
        let row = claim(&context).await;
        assert_eq!(cancel(&context, &id).await, Cancelled::Stopping);
        run_in_a_slot(&context, row).await;
        is_cancelled(&context, &id).await;
    }
}

/// A metrics recorder that panics when a run has ended.
struct Panics;

impl metrics::Recorder for Panics {
    fn describe_counter(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}
    fn describe_gauge(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}
    fn describe_histogram(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}

    fn register_counter(&self, _: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Counter {
        metrics::Counter::noop()
    }

    fn register_gauge(&self, _: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Gauge {
        metrics::Gauge::noop()
    }

    fn register_histogram(&self, key: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Histogram {
        assert_ne!(key.name(), postback_wire::names::metric::RUN_SECONDS, "as the test wants");
        metrics::Histogram::noop()
    }
}

#[tokio::test]
async fn a_panic_of_the_worker_is_a_failure_with_a_report() {
    let context = context_of(app().route("/a", has_nothing).webhook(HOOK), 1).await;
    let id = submit_null(&context).await;
    let row = claim(&context).await;
    let recording = metrics::set_default_local_recorder(&Panics);
    run_in_a_slot(&context, row).await;
    drop(recording);
    ended(&context, &id, Status::Failed, Reason::Panic, "has_nothing").await;
}
