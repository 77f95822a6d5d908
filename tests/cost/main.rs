//! Counts the memory allocations of an annotated call on the caller's thread, compared with the call of a plain
//! function.
//!
//! The tests expect exact numbers, so each new allocation makes a test fail. `runtime/docs/async_handler.md` promises
//! these numbers to users.

use std::fmt::{self, Display};
use std::hint::black_box;
use std::pin::pin;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use allocation_counter::measure;
use postback::{Poster, Report, RequestId, async_handler};

/// The webhook URL of the tests. Deliveries to it fail without a connection, because the guard for forbidden addresses
/// refuses the loopback address. This failure comes after the counted part.
const URL: &str = "http://127.0.0.1:9/hooks/transcribed?token=8a7d";

/// The number of allocations that every report needs, whether the attribute or the user's code posts it:
///
/// - 2 for the result as JSON: the text and its reference count;
/// - 3 for the body, of which 1 is for the timestamp in the body;
/// - 3 for the parsed URL, of which 2 are needed only because the host is an IPv4 address;
/// - 3 for the row with its webhook and its id, which all later stages share;
/// - 1 for the list in which the row passes from stage to stage.
const REPORT: u64 = 12;

/// The poster of the process. It is installed once and never stopped.
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

/// Posts no report for a call that completes. What remains to count is the copy of the URL and the id.
#[async_handler(webhook = webhook, on = [failed])]
async fn unreported(webhook: Option<&str>, request_id: &RequestId) -> Result<usize, fmt::Error> {
    Ok(request_id.as_str().len())
}

#[async_handler(webhook = webhook, request_id = Long)]
async fn with_a_long_id(webhook: Option<&str>) -> Result<(), fmt::Error> {
    webhook.is_none().then_some(()).ok_or(fmt::Error)
}

/// A request id of 1,000 characters.
struct Long;

impl Display for Long {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&"x".repeat(1_000))
    }
}

/// Runs a future that never waits. The function itself does not allocate.
fn run<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the future must not wait"),
    }
}

/// Held while a test counts allocations, so that only one test uses the poster at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Counts the allocations of one call. Each posted report is finished before the next call is counted, so no queue
/// grows.
fn allocations<T>(call: impl Fn() -> T) -> u64 {
    let poster = LazyLock::force(&POSTER);
    // Another test would otherwise post reports during the count, and the queue could grow.
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let count = || {
        let counted = measure(|| drop(black_box(call())));
        let flushed = poster.flush_blocking(Duration::from_secs(60));
        assert!(flushed.is_safe(), "{flushed:?}");
        counted.count_total
    };
    // The first calls of a thread also allocate things that later calls reuse: the random number generator of the
    // thread, and a place in the queue. So these calls are not counted.
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
    // Code without the attribute copies the URL and the id in two allocations. The attribute needs one allocation for
    // both.
    assert_eq!(by_hand, 2 + REPORT);
}
