//! The worker's loop, with paused time and a store in memory.

use std::future::poll_fn;
use std::panic::Location;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::*;
use crate::handler::{Limits, Shared, States, Unbound};
use postback_store::{self as store, NewRequest, RequestState, Settled, Store, Submitted, Terms};
use postback_wire::id::{NodeId, RequestId};
use postback_wire::report::{Outcome, Reason, Status};
use postback_wire::time::{Clock, Timestamp};

const SECOND: Duration = Duration::from_secs(1);
const START: Timestamp = Timestamp::from_micros(1_795_420_800_000_000);
/// A time that is longer than the longest pause between two claims of a worker. A test does not really wait this long,
/// because it pauses the clock.
const NEVER: Duration = Duration::from_hours(24);

/// Makes a clock that follows tokio's paused time. Its wall clock shows a time that is earlier by `behind`.
fn clock(behind: Duration) -> Clock {
    let begun = Instant::now();
    Clock::new(move || START.saturating_add(begun.elapsed()).saturating_sub(behind), move || begun.elapsed())
}

async fn store() -> Store {
    let place = store::Location::Memory { reports: 100, bytes: 1 << 20, kept: 100 };
    Store::open(store::Options::at(place), NodeId::generate(), clock(Duration::ZERO)).await.unwrap()
}

fn request(id: &str) -> NewRequest {
    NewRequest::new(RequestId::stored(id), "/a", "{}", START)
}

/// Submits a request and claims it before the worker starts, so that the worker gets no signal for this request.
/// Returns the claim.
async fn claimed_elsewhere(store: &Store) -> RequestClaim {
    drop(store.attach_requests(vec!["/a".into()], Arc::new(Semaphore::new(0))));
    assert_eq!(store.submit(request("r")).await.unwrap(), Submitted::New);
    store.requests_due().await;
    store.claim_requests(1).await.unwrap().rows.remove(0).claim
}

/// Starts a worker and waits until its first claim has found no request. Returns the counter of the runs of its
/// handler, and the stop signal of the worker.
async fn asleep(store: &Store, clock: Clock) -> (Arc<AtomicUsize>, Shutdown) {
    let runs = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&runs);
    let handler = move || {
        count.fetch_add(1, Ordering::SeqCst);
        async { Ok::<(), String>(()) }
    };
    let unbound = Unbound::new("/a".into(), handler, Location::caller());
    let shared = Arc::new(Shared { settings: Arc::new(()), states: States::default() });
    let routes = Routes::bind(vec![unbound], &shared).ok().unwrap();
    let options = Options {
        concurrency: 2,
        threads: None,
        timeout: Duration::from_mins(1),
        max_attempts: 1,
        retry_delay: Duration::from_secs(1),
        max_retry_delay: Duration::from_mins(1),
        max_crashes: 3,
    };
    let outbox = Outbox::of_server(store.clone(), clock);
    let worker = Worker::new(outbox, routes, options, Handle::current(), Duration::ZERO);
    let shutdown = Shutdown::new();
    shutdown.spawn(worker.run(Vec::new(), shutdown.clone()));
    // The paused clock advances only while all tasks wait. So when this `sleep` ends, the worker has made its first
    // claim.
    tokio::time::sleep(SECOND).await;
    assert_eq!(runs.load(Ordering::SeqCst), 0);
    (runs, shutdown)
}

async fn is_ready(mut future: std::pin::Pin<&mut impl Future>) -> bool {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_ready())).await
}

/// Waits until the request is settled, and then stops the worker. Returns how long the wait took.
async fn settled(store: &Store, shutdown: Shutdown) -> Duration {
    let begun = Instant::now();
    let id = RequestId::stored("r");
    let watch = store.watch(&id);
    tokio::time::timeout(NEVER, watch.settled()).await.expect("the worker claims again");
    let record = store.request(&id).await.unwrap().unwrap();
    assert!(matches!(record.state, RequestState::Settled(_)), "{record:?}");
    shutdown.stop();
    shutdown.finished().await;
    begun.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_wake_up_is_lost_is_run_at_the_next_slow_poll() {
    let store = store().await;
    let claim = claimed_elsewhere(&store).await;
    // A signal wakes only the task that has waited for the longest time. This future has waited longer than the worker,
    // so this future gets the signal and the worker does not.
    let mut thief = pin!(store.requests_due());
    assert!(!is_ready(thief.as_mut()).await);
    let (runs, shutdown) = asleep(&store, clock(Duration::ZERO)).await;
    assert_eq!(store.put_back_request(claim).await.unwrap(), Settled::Current);
    assert!(is_ready(thief.as_mut()).await, "the wake-up was not lost");
    let took = settled(&store, shutdown).await;
    assert!(took > SECOND && took <= SLOW_POLL, "{took:?}");
    assert_eq!(runs.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_wake_up_that_is_not_lost_is_followed_at_once() {
    let store = store().await;
    let claim = claimed_elsewhere(&store).await;
    let (_, shutdown) = asleep(&store, clock(Duration::ZERO)).await;
    assert_eq!(store.put_back_request(claim).await.unwrap(), Settled::Current);
    assert!(settled(&store, shutdown).await < SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_is_set_back_as_the_pause_is_reckoned_costs_a_slow_poll() {
    let store = store().await;
    let claim = claimed_elsewhere(&store).await;
    let due = clock(Duration::ZERO).now().saturating_add(5 * SECOND);
    assert_eq!(store.retry_request(claim, due, None).await.unwrap(), Settled::Current);
    store.requests_due().await;
    // By the store's clock, the request is due in 5 s. By the clock of this worker, the request is due in a day.
    let (runs, shutdown) = asleep(&store, clock(NEVER)).await;
    let took = settled(&store, shutdown).await;
    assert!(took >= 4 * SECOND && took <= SLOW_POLL, "{took:?}");
    assert_eq!(runs.load(Ordering::SeqCst), 1);
}

/// The number of runs of a handler now, the largest number so far, and the gate that each run waits for.
struct Gate {
    now: AtomicUsize,
    most: AtomicUsize,
    open: Semaphore,
}

struct Counted<'a>(&'a Gate);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Makes a handler whose runs wait for the gate.
fn gated(gate: &Arc<Gate>) -> impl Fn() -> futures_util::future::BoxFuture<'static, Result<(), String>> + use<> {
    let gate = Arc::clone(gate);
    move || {
        let gate = Arc::clone(&gate);
        Box::pin(async move {
            let now = gate.now.fetch_add(1, Ordering::SeqCst) + 1;
            gate.most.fetch_max(now, Ordering::SeqCst);
            let _counted = Counted(&gate);
            gate.open.acquire().await.map(tokio::sync::SemaphorePermit::forget).map_err(|error| error.to_string())
        })
    }
}

/// Starts a worker with three slots, a route `/gated` with these limits, and a route `/free`.
fn serving(store: &Store, limits: Limits) -> (Arc<Gate>, Shutdown) {
    let gate = Arc::new(Gate { now: AtomicUsize::new(0), most: AtomicUsize::new(0), open: Semaphore::new(0) });
    let mut limited = Unbound::new("/gated".into(), gated(&gate), Location::caller());
    limited.limit(|of_route| *of_route = limits);
    let free = Unbound::new("/free".into(), || async { Ok::<(), String>(()) }, Location::caller());
    let shared = Arc::new(Shared { settings: Arc::new(()), states: States::default() });
    let routes = Routes::bind(vec![limited, free], &shared).ok().unwrap();
    let options = Options {
        concurrency: 3,
        threads: None,
        timeout: Duration::from_hours(1),
        max_attempts: 1,
        retry_delay: SECOND,
        max_retry_delay: SECOND,
        max_crashes: 3,
    };
    let outbox = Outbox::of_server(store.clone(), clock(Duration::ZERO));
    let worker = Worker::new(outbox, routes, options, Handle::current(), Duration::ZERO);
    let shutdown = Shutdown::new();
    shutdown.spawn(worker.run(Vec::new(), shutdown.clone()));
    (gate, shutdown)
}

async fn submit(store: &Store, id: &str, route: &str, terms: Terms) {
    let new = NewRequest { terms, ..NewRequest::new(RequestId::stored(id), route, Bytes::from_static(b"{}"), START) };
    assert_eq!(store.submit(new).await.unwrap(), Submitted::New);
}

/// Waits until the request is settled. Returns its outcome.
async fn outcome_of(store: &Store, id: &str) -> Outcome {
    let id = RequestId::stored(id);
    loop {
        let watch = store.watch(&id);
        match store.request(&id).await.unwrap().unwrap().state {
            RequestState::Settled(outcome) => return outcome,
            _ => tokio::time::timeout(NEVER, watch.settled()).await.expect("it ends"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_route_keeps_its_requests_waiting_and_others_run() {
    let store = store().await;
    let limits = Limits { concurrency: Some(1), ..Limits::default() };
    let (gate, shutdown) = serving(&store, limits);
    for n in 0..5 {
        submit(&store, &format!("gated {n}"), "/gated", Terms::default()).await;
    }
    for n in 0..5 {
        let id = format!("free {n}");
        submit(&store, &id, "/free", Terms::default()).await;
        assert_eq!(outcome_of(&store, &id).await.status, Status::Completed);
    }
    assert_eq!((gate.now.load(Ordering::SeqCst), gate.most.load(Ordering::SeqCst)), (1, 1));
    // No signal is lost: without a slow poll, each run makes room for the next one.
    let begun = Instant::now();
    gate.open.add_permits(5);
    for n in 0..5 {
        assert_eq!(outcome_of(&store, &format!("gated {n}")).await.status, Status::Completed);
    }
    assert!(begun.elapsed() < SECOND, "{:?}", begun.elapsed());
    assert_eq!(gate.most.load(Ordering::SeqCst), 1);
    shutdown.stop();
    shutdown.finished().await;
}

#[tokio::test(start_paused = true)]
async fn a_request_expires_at_its_deadline_while_no_slot_is_free() {
    let store = store().await;
    let (gate, shutdown) = serving(&store, Limits { concurrency: Some(1), ..Limits::default() });
    submit(&store, "runs", "/gated", Terms::default()).await;
    // The deadline of a request that runs already means nothing.
    let now = clock(Duration::ZERO).now();
    let until = |seconds: u32| Terms { deadline: Some(now.saturating_add(SECOND * seconds)), ..Terms::default() };
    for (id, seconds) in [("late", 7), ("soon", 3), ("later", 40)] {
        submit(&store, id, "/gated", until(seconds)).await;
    }
    for (id, seconds) in [("soon", 3), ("late", 7), ("later", 40)] {
        let outcome = outcome_of(&store, id).await;
        assert_eq!((outcome.status, outcome.reason), (Status::Failed, Reason::Expired));
        let took = outcome.finished.since(now);
        assert!(took >= SECOND * seconds && took < SECOND * (seconds + 1), "{id}: {took:?}");
    }
    gate.open.add_permits(1);
    assert_eq!(outcome_of(&store, "runs").await.status, Status::Completed);
    shutdown.stop();
    shutdown.finished().await;
}

#[tokio::test(start_paused = true)]
async fn a_run_ends_after_the_time_of_its_route_or_of_its_caller() {
    let store = store().await;
    let limits = Limits { timeout: Some(5 * SECOND), max_attempts: Some(2), ..Limits::default() };
    let (gate, shutdown) = serving(&store, Limits { retry_delay: Some(SECOND * 20), ..limits });
    let begun = Instant::now();
    for (id, timeout) in [("route", None), ("caller", Some(2 * SECOND)), ("longer", Some(9 * SECOND))] {
        submit(&store, id, "/gated", Terms { timeout, ..Terms::default() }).await;
    }
    // Each has two runs, with a pause of 20 s between.
    for (id, seconds, set_by) in [("caller", 24, "its caller"), ("route", 30, "its route"), ("longer", 30, "its route")]
    {
        let outcome = outcome_of(&store, id).await;
        let elapsed = begun.elapsed();
        assert!(elapsed >= SECOND * seconds && elapsed < SECOND * (seconds + 1), "{id}: {elapsed:?}");
        assert_eq!(outcome.reason, Reason::Timeout);
        assert!(outcome.detail.as_deref().unwrap().ends_with(&format!("(the timeout of {set_by})")), "{outcome:?}");
    }
    assert_eq!(gate.most.load(Ordering::SeqCst), 3);
    shutdown.stop();
    shutdown.finished().await;
}
