//! Single runs, without the worker's loop. This file has runs that are cancelled.

mod asked;
mod panics;
mod progress;
mod provenance;

use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use http::HeaderMap;

use super::*;
use crate::app::App;
use crate::handler::{Ended, State};
use crate::poster::Outbox;
use crate::worker::handler_task::HandlerTask;
use crate::worker::{Options, Slots};
use postback_store::shutdown::Shutdown;
use postback_store::{Cancelled, Location, NewRequest, RequestRoom, RequestState, Store};
use postback_wire::id::{NodeId, RequestId};
use postback_wire::report::Status;
use postback_wire::time::Clock;
use tokio::sync::Semaphore;
use tokio::time::Instant;

type Runs = Arc<AtomicU32>;

async fn handler(runs: State<Runs>) -> Result<(), String> {
    runs.fetch_add(1, Ordering::SeqCst);
    Err("as every time".to_owned())
}

/// Makes a context with which a test can run single requests, without the loop of a worker. Also returns the counter of
/// the handler's runs.
async fn context() -> (Arc<Context>, Runs) {
    let runs = Runs::default();
    let app = App::new(()).state(Arc::clone(&runs)).route("/a", handler).webhook("https://example.com/told");
    (context_of(app, 9).await, runs)
}

/// Makes a context with which a test can run single requests of the routes of `app`. The handlers run on the current
/// tokio runtime.
async fn context_of<S: Send + Sync + 'static>(app: App<S>, max_attempts: u32) -> Arc<Context> {
    let clock = Clock::system();
    let options = postback_store::Options::at(Location::Memory { reports: 100, bytes: 1 << 20, kept: 10 });
    let store = Store::open(options, NodeId::generate(), clock.clone()).await.unwrap();
    let routes = app.into_routes().unwrap_or_else(|error| panic!("{error}"));
    drop(store.attach_requests(routes.paths(), Arc::new(Semaphore::new(0))));
    let options = Options {
        concurrency: 1,
        threads: None,
        timeout: Duration::from_hours(1),
        max_attempts,
        retry_delay: Duration::from_secs(1),
        max_retry_delay: Duration::from_mins(1),
        max_crashes: 9,
    };
    let (outbox, handlers) = (Outbox::of_server(store, clock), tokio::runtime::Handle::current());
    let options = crate::worker::LiveOptions::new(options);
    Arc::new(Context { outbox, routes, options, handlers, cut: Shutdown::new() })
}

async fn submit(context: &Context) -> RequestId {
    submit_with(context, HeaderMap::new(), Bytes::new()).await
}

async fn submit_with(context: &Context, headers: HeaderMap, body: Bytes) -> RequestId {
    let (id, created) = (RequestId::generate(), context.outbox.clock().now());
    let new = NewRequest { headers, ..NewRequest::new(id.clone(), "/a", body, created) };
    let _ = context.outbox.store().submit(new).await.unwrap();
    id
}

async fn claim(context: &Context) -> ClaimedRequest {
    context.outbox.store().claim_requests(1).await.unwrap().rows.remove(0)
}

async fn cancel(context: &Context, id: &RequestId) -> Cancelled {
    context.outbox.store().cancel(id, "/a", None, |_, _| panic!("it does not wait")).await.unwrap()
}

/// Takes what a request of the route `/a` takes from the slots.
fn room(slots: &Slots) -> RequestRoom {
    let slot = Arc::clone(&slots.all).try_acquire_owned().unwrap();
    RequestRoom { slot, route: slots.reserve(0).permit("/a") }
}

fn a_slot(context: &Context) -> Slot {
    let slots = Slots::new(1, &context.routes);
    slots.take(room(&slots), None)
}

async fn run_it(context: &Arc<Context>, row: ClaimedRequest) {
    run(Arc::clone(context), row, a_slot(context)).await;
}

/// Checks that the request is settled as cancelled and has one report.
async fn is_cancelled(context: &Context, id: &RequestId) {
    let store = context.outbox.store();
    let state = store.request(id).await.unwrap().unwrap().state;
    assert!(matches!(&state, RequestState::Settled(outcome) if outcome.status == Status::Cancelled), "{state:?}");
    assert_eq!(store.deliveries(id.as_str()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_cancelled_before_its_run_begins_never_runs() {
    let (context, runs) = context().await;
    let id = submit(&context).await;
    let row = claim(&context).await;
    assert_eq!(cancel(&context, &id).await, Cancelled::Stopping);
    run_it(&context, row).await;
    is_cancelled(&context, &id).await;

    // A cancelled request does not run, even after it was put back into the queue.
    let id = submit(&context).await;
    let row = claim(&context).await;
    assert_eq!(cancel(&context, &id).await, Cancelled::Stopping);
    context.put_back("/a", row.claim, true).await;
    run_it(&context, claim(&context).await).await;
    is_cancelled(&context, &id).await;
    assert_eq!(runs.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn what_failed_and_is_not_cancelled_runs_again() {
    let (context, runs) = context().await;
    let id = submit(&context).await;
    run_it(&context, claim(&context).await).await;
    assert_eq!(context.outbox.store().request(&id).await.unwrap().unwrap().state, RequestState::Queued);
    assert_eq!(runs.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_interrupted_run_says_whether_it_had_begun() {
    let (context, _) = context().await;
    let _ = submit(&context).await;
    let row = claim(&context).await;
    let sink = RunSink::new(row.claim.id.clone(), context.outbox.clone());
    context.cut.stop();
    for had_begun in [true, false] {
        let (begins, begun) = tokio::sync::oneshot::channel();
        let mut begins = Some(begins);
        if had_begun {
            begins.take().unwrap().send(Instant::now()).unwrap();
        }
        #[expect(clippy::disallowed_methods, reason = "`watch` holds the task's handle until the task is aborted")]
        let task = tokio::spawn(std::future::pending());
        let task = HandlerTask { task, begun, lane: a_slot(&context).lane() };
        let token = CancellationToken::new();
        let interrupted = handler_task::watch(&context, &row, &sink, &token, (task, None)).await.unwrap_err();
        assert_eq!(interrupted.begun, had_begun);
    }
}

#[tokio::test]
async fn a_run_that_ended_by_itself_has_ended_so() {
    let (context, _) = context().await;
    let _ = submit(&context).await;
    let row = claim(&context).await;
    let sink = RunSink::new(row.claim.id.clone(), context.outbox.clone());
    let token = CancellationToken::new();
    token.cancel();
    for ended in [true, false] {
        let (begins, begun) = tokio::sync::oneshot::channel();
        begins.send(Instant::now()).unwrap();
        #[expect(
            clippy::disallowed_methods,
            reason = "`watch` holds the task's handle until the task ends or is aborted"
        )]
        let task =
            tokio::spawn(async move { if ended { Ok(Ended::Completed(None)) } else { std::future::pending().await } });
        while ended && !task.is_finished() {
            tokio::task::yield_now().await;
        }
        let lane = a_slot(&context).lane();
        let task = HandlerTask { task, begun, lane };
        let (end, _) = handler_task::watch(&context, &row, &sink, &token, (task, None)).await.unwrap();
        assert_eq!(matches!(end, RunEnd::Finished(_)), ended, "{end:?}");
        assert_eq!(matches!(end, RunEnd::Cancelled), !ended, "{end:?}");
    }
}
