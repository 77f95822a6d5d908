//! The worker's loop, with paused time and a store in memory.

use std::future::poll_fn;
use std::panic::Location;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use tokio::sync::Semaphore;

use super::*;
use crate::handler::{Shared, States, Unbound};
use postback_store::{self as store, NewRequest, RequestState, Settled, Store, Submitted};
use postback_wire::id::{NodeId, RequestId};
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
