//! What an annotated call costs over the same call unannotated: allocations, counted on the caller's thread.
//!
//! The counts are exact, so that the one that comes back is seen. A number here is a promise of `docs/async_handler.md`.

use std::fmt::{self, Display};
use std::hint::black_box;
use std::pin::pin;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use allocation_counter::measure;
use postback::{Poster, Report, RequestId, async_handler};

/// Nobody listens there, and nobody is asked: the guard refuses the address. What is counted is over by then.
const URL: &str = "http://127.0.0.1:9/hooks/transcribed?token=8a7d";

/// What one report needs, whoever posts it: the result as JSON (2: the text, and what counts its holders), the body (2, and
/// 1 for the time in it), the parsed URL (3, of which 2 only because its host is an IPv4 address), the row with its
/// webhook and its id, which all later hands share (3), and the list that it passes from hand to hand in (1).
const REPORT: u64 = 12;

/// A poster for the process, with everything at hand that the first report makes once.
static POSTER: LazyLock<Poster> = LazyLock::new(|| {
    let guard = Poster::builder().install().unwrap();
    Box::leak(Box::new(guard)).poster()
});

async fn plain(_: Option<&str>, request_id: &RequestId) -> Result<usize, fmt::Error> {
    Ok(request_id.as_str().len())
}

#[async_handler(webhook = webhook)]
async fn annotated(webhook: Option<&str>, request_id: &RequestId) -> Result<usize, fmt::Error> {
    Ok(request_id.as_str().len())
}

/// Reports nothing of a call that completes: what is left is the taking down of URL and id.
#[async_handler(webhook = webhook, on = [failed])]
async fn unreported(webhook: Option<&str>, request_id: &RequestId) -> Result<usize, fmt::Error> {
    Ok(request_id.as_str().len())
}

#[async_handler(webhook = webhook, request_id = Long)]
async fn with_a_long_id(webhook: Option<&str>) -> Result<(), fmt::Error> {
    webhook.is_none().then_some(()).ok_or(fmt::Error)
}

/// The id of the calls that have a long one.
struct Long;

impl Display for Long {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&"x".repeat(1_000))
    }
}

/// Runs a future that never waits, with nothing around it that could allocate.
fn run<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits"),
    }
}

static ALONE: Mutex<()> = Mutex::new(());

/// Allocations of one call. What is posted is over and done with before the next is counted, so that no queue grows.
fn allocations<T>(call: impl Fn() -> T) -> u64 {
    let poster = LazyLock::force(&POSTER);
    // What another test posts would be waiting after the flush.
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let count = || {
        let counted = measure(|| drop(black_box(call())));
        let flushed = poster.flush_blocking(Duration::from_secs(60));
        assert!(flushed.is_safe(), "{flushed:?}");
        counted.count_total
    };
    // The first calls of a thread also make what the later ones find: its random numbers, a place in the queue.
    for _ in 0..8 {
        count();
    }
    let counts: Vec<u64> = (0..8).map(|_| count()).collect();
    assert!(counts.iter().all(|count| *count == counts[0]), "{counts:?}");
    counts[0]
}

#[test]
fn the_plain_call_allocates_nothing_so_what_is_counted_is_the_reports() {
    let id = RequestId::generate();
    assert_eq!(allocations(|| run(plain(Some(URL), &id))), 0);
    assert_eq!(allocations(|| black_box(Box::new(1))), 1);
}

#[test]
fn without_a_webhook_a_call_allocates_nothing() {
    let id = RequestId::generate();
    assert_eq!(allocations(|| run(annotated(None, &id))), 0);
    assert_eq!(allocations(|| run(with_a_long_id(None))), 0);
    let by_hand = || run(postback::report_outcome(&None::<String>, &Long, plain(None, &id)));
    assert_eq!(allocations(by_hand), 0);
}

#[test]
fn url_and_id_take_one_allocation_together() {
    let id = RequestId::generate();
    assert_eq!(allocations(|| run(unreported(Some(URL), &id))), 1);
    let url: http::Uri = URL.parse().unwrap();
    assert_eq!(allocations(|| run(postback::report_outcome(&url, &id, plain(None, &id)).on(postback::Ends::NONE))), 1);
}

#[test]
fn a_reported_call_allocates_that_and_what_its_report_needs() {
    let id = RequestId::generate();
    assert_eq!(allocations(|| run(annotated(Some(URL), &id))), 1 + REPORT);
    let by_hand = allocations(|| {
        let report = Report::completed(&id, &run(plain(None, &id)).unwrap()).unwrap();
        POSTER.post(URL, &report).unwrap();
    });
    // By hand, URL and id are copied one by one.
    assert_eq!(by_hand, 2 + REPORT);
}
