//! Tests of batches, without a worker.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::handler::{Headers, State, States};

type Sizes = Arc<Mutex<Vec<usize>>>;

/// Doubles even numbers.
async fn double(sizes: State<Sizes>, batch: Batch<u32>) -> Vec<Result<u32, String>> {
    sizes.lock().unwrap().push(batch.len());
    let double = |item: BatchItem<u32>| match item.payload % 2 {
        0 => Ok(item.payload * 2),
        _ => Err(format!("{} is odd", item.payload)),
    };
    batch.into_iter().map(double).collect()
}

async fn too_few(_: Batch<u32>) -> Vec<Result<(), Infallible>> {
    Vec::new()
}

async fn panics(batch: Batch<u32>) -> Vec<Result<(), Infallible>> {
    panic!("it had {}", batch.len())
}

fn shared(sizes: &Sizes) -> Arc<Shared<()>> {
    let mut states = States::default();
    states.insert(Arc::clone(sizes));
    Arc::new(Shared { settings: Arc::new(()), states })
}

fn bound<A>(handler: impl BatchHandler<A, ()>, size: usize) -> (Bound, Sizes) {
    let sizes = Sizes::default();
    let bound = handler.bind(shared(&sizes), size, Duration::from_millis(100));
    assert!(bound.faults.is_empty(), "{:?}", bound.faults);
    (bound, sizes)
}

fn run(bound: &Bound, body: &str) -> impl Future<Output = Ended> + use<> {
    (bound.run)(Run::of(RequestId::generate(), Arc::default(), body.to_owned().into()))
}

fn shown(ended: &Ended) -> String {
    match ended {
        Ended::Completed(Some(Ok(Some(json)))) => String::from_utf8_lossy(json.bytes()).into_owned(),
        Ended::Completed(other) => format!("{other:?}"),
        Ended::Failed { text, .. } | Ended::Panicked(text) => text.clone(),
        Ended::Replying(_) | Ended::Replied(_) => format!("{ended:?}"),
    }
}

async fn ends(bound: &Bound, bodies: &[&str]) -> Vec<String> {
    join(bodies.iter().map(|body| run(bound, body))).await
}

async fn join(runs: impl Iterator<Item = impl Future<Output = Ended>>) -> Vec<String> {
    futures_util::future::join_all(runs).await.iter().map(shown).collect()
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_full_or_its_time_is_over_and_each_request_has_its_own_outcome() {
    let (bound, sizes) = bound(double, 3);
    let begun = tokio::time::Instant::now();
    assert_eq!(ends(&bound, &["2", "3", "4"]).await, ["4", "3 is odd", "8"]);
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert_eq!(ends(&bound, &["2", "3", "4", "6"]).await, ["4", "3 is odd", "8", "12"]);
    assert_eq!(begun.elapsed().as_millis(), 100);
    assert_eq!(*sizes.lock().unwrap(), [3, 3, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_payload_that_does_not_fit_fails_alone() {
    let (bound, sizes) = bound(double, 3);
    let ends_of = ends(&bound, &["2", "\"x\"", "4"]).await;
    assert_eq!((&*ends_of[0], &*ends_of[2]), ("4", "8"));
    assert!(ends_of[1].starts_with("the payload does not fit the handler: "), "{ends_of:?}");
    assert_eq!(*sizes.lock().unwrap(), [2]);
    assert!(ends(&bound, &["\"x\""]).await[0].starts_with("the payload does not fit"));
    assert_eq!(sizes.lock().unwrap().len(), 1, "a handler gets no empty batch");
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_panics_or_forgets_outcomes_fails_its_batch() {
    let (forgets, _) = bound(too_few, 2);
    let told = "the handler returned 0 outcomes for a batch of 2 requests";
    assert_eq!(ends(&forgets, &["1", "2"]).await, [told, told]);
    let (panicking, _) = bound(panics, 2);
    assert_eq!(ends(&panicking, &["1", "2"]).await, ["it had 2", "it had 2"]);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_stopped_leaves_its_batch() {
    let (bound, sizes) = bound(double, 3);
    let mut stopped = Box::pin(run(&bound, "2"));
    assert!(futures_util::poll!(&mut stopped).is_pending());
    drop(stopped);
    assert_eq!(ends(&bound, &["4", "6", "8"]).await, ["8", "12", "16"]);
    assert_eq!(*sizes.lock().unwrap(), [3]);
}

static DROPPED: AtomicUsize = AtomicUsize::new(0);

struct Counts;

impl Drop for Counts {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, Ordering::SeqCst);
    }
}

async fn hangs(_: Batch<u32>) -> Vec<Result<(), Infallible>> {
    let _counts = Counts;
    std::future::pending().await
}

#[tokio::test(start_paused = true)]
async fn a_batch_ends_when_all_its_runs_are_stopped() {
    let (bound, _) = bound(hangs, 2);
    let [mut first, mut second] = ["1", "2"].map(|body| Box::pin(run(&bound, body)));
    assert!(futures_util::poll!(&mut first).is_pending() && futures_util::poll!(&mut second).is_pending());
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(first);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(DROPPED.load(Ordering::SeqCst), 0, "one run still waits");
    drop(second);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(DROPPED.load(Ordering::SeqCst), 1);
}

async fn of_one(_: Headers, _: Batch<u32>) -> Vec<Result<(), Infallible>> {
    Vec::new()
}

async fn none(_: State<Sizes>) -> Vec<Result<(), Infallible>> {
    Vec::new()
}

#[test]
fn what_is_wrong_with_a_batch_is_told() {
    let shared = shared(&Sizes::default());
    let second = Duration::from_secs(1);
    let of = |bound: Bound| bound.faults.join("; ");
    assert!(of(BatchHandler::bind(of_one, Arc::clone(&shared), 2, second)).contains("something of a single request"));
    assert!(of(BatchHandler::bind(none, Arc::clone(&shared), 2, second)).contains("takes no `Batch<T>`"));
    let told = of(BatchHandler::bind(too_few, Arc::clone(&shared), 0, second * 61));
    assert_eq!(
        told,
        "the size of the batch is 0; a batch has from 1 to 1024 requests; a batch waits at most one minute for more requests"
    );
}
