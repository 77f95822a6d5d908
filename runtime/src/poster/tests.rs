//! Tests of posters over real sockets: posting, flushing and stopping.

#[cfg(feature = "sqlite")]
mod hand_in;

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use super::*;
use crate::delivery::receiver::{OK, Receiver};

/// A timeout that is longer than a test takes, unless the test fails.
const LONG: Duration = Duration::from_secs(30);

fn report(id: &str) -> Report {
    Report::completed(id, "done").unwrap()
}

/// Starts a receiver that accepts connections and never sends a response.
fn silent() -> Receiver {
    Receiver::new(|_, _| {
        std::thread::park();
        Ok(())
    })
}

/// Runs a future on the current thread, without an async runtime.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_is_posted_at_once_and_delivered_behind() {
    let receiver = Receiver::answering(OK);
    let (poster, guard) = Poster::builder().trust(receiver.url()).start().unwrap();
    poster.post(&receiver.url(), &report("job-1")).unwrap();
    let requests = receiver.received(1).await;
    let body = String::from_utf8(requests[0].body.clone()).unwrap();
    assert!(body.starts_with(r#"{"id":"job-1","status":"completed","result":"done","timestamp":""#), "{body}");
    let flushed = guard.shutdown(LONG).await;
    assert_eq!(flushed, Flushed { delivered: 1, known: true, ..Flushed::default() });
    assert!(flushed.is_safe());
}

#[test]
fn flush_works_on_any_executor_and_on_none() {
    let receiver = Receiver::answering(OK);
    let (poster, guard) = Poster::builder().trust(receiver.url()).start().unwrap();
    poster.post(&receiver.url(), &report("1")).unwrap();
    assert_eq!(poster.flush_blocking(LONG).delivered, 1);
    poster.post(&receiver.url(), &Report::failed("2").error("no")).unwrap();
    assert_eq!(block_on(poster.flush(LONG)).delivered, 2);
    drop(guard);
}

#[tokio::test]
async fn in_memory_a_flush_waits_until_each_report_was_attempted_once() {
    let receiver = Receiver::answering("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n");
    let (poster, guard) = Poster::builder().trust(receiver.url()).start().unwrap();
    for n in 0..3 {
        poster.post(&receiver.url(), &report(&n.to_string())).unwrap();
    }
    let flushed = poster.flush(LONG).await;
    assert!(receiver.requests().len() >= 3, "each was attempted");
    assert_eq!((flushed.waiting, flushed.stored, flushed.is_safe()), (3, 0, false));
    guard.shutdown(Duration::ZERO).await;
}

#[cfg(feature = "sqlite")]
#[tokio::test(flavor = "multi_thread")]
async fn in_a_file_a_stop_counts_what_was_delivered_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let (answer, answered) = std::sync::mpsc::sync_channel::<()>(1);
    let answered = std::sync::Mutex::new(answered);
    let receiver = Receiver::new(move |_, stream| {
        let _ = answered.lock().unwrap().recv();
        stream.write_all(OK.as_bytes())
    });
    let builder = Poster::builder().sqlite(folder.path().join("reports.db")).trust(receiver.url());
    let (poster, guard) = builder.start().unwrap();
    poster.post(&receiver.url(), &report("1")).unwrap();
    receiver.received(1).await;
    assert_eq!(poster.flush(LONG).await.stored, 1);
    let (flushed, ()) = tokio::join!(guard.shutdown(LONG), async { answer.send(()).unwrap() });
    assert_eq!(flushed, Flushed { delivered: 1, known: true, ..Flushed::default() });
}

#[cfg(feature = "sqlite")]
#[tokio::test(flavor = "multi_thread")]
async fn in_a_file_a_flush_waits_for_the_disk_alone_and_the_next_start_delivers() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("reports.db");
    let deaf = silent();
    let (poster, guard) = Poster::builder().sqlite(&file).trust(deaf.url()).start().unwrap();
    poster.post_durably(&deaf.url(), &report("1")).await.unwrap();
    poster.post(&deaf.url(), &report("2")).unwrap();
    let flushed = poster.flush(LONG).await;
    assert_eq!((flushed.stored, flushed.waiting, flushed.is_safe()), (2, 0, true));
    // The receiver never sends a response, so the shutdown stops the delivery attempts.
    guard.shutdown(Duration::from_millis(100)).await;

    // Another poster starts with the same file. The receiver still sends no response, so the test checks only that the
    // reports are still stored and that the poster attempts them again.
    let (poster, guard) = Poster::builder().sqlite(&file).trust(deaf.url()).start().unwrap();
    assert_eq!(poster.flush(LONG).await.stored, 2);
    let before = deaf.requests().len();
    deaf.received(before.max(3)).await;
    guard.shutdown(Duration::from_millis(100)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_that_knows_nothing_does_not_say_that_all_is_safe() {
    assert!(!Flushed::default().is_safe());
    let deaf = silent();
    let (poster, guard) = Poster::builder().trust(deaf.url()).start().unwrap();
    poster.post(&deaf.url(), &report("1")).unwrap();
    assert!(!poster.flush(Duration::ZERO).await.is_safe(), "there was no time to find out");
    assert!(!guard.shutdown(Duration::ZERO).await.is_safe());
    assert!(!poster.flush(LONG).await.is_safe(), "it was stopped");
    assert!(!poster.flush(Duration::MAX).await.is_safe());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_without_limit_and_one_that_is_dropped_go_on_to_their_end() {
    let receiver = Receiver::answering(OK);
    let (poster, guard) = Poster::builder().trust(receiver.url()).start().unwrap();
    poster.post(&receiver.url(), &report("1")).unwrap();
    assert_eq!(guard.shutdown(Duration::MAX).await.delivered, 1);

    let (poster, guard) = Poster::builder().trust(receiver.url()).start().unwrap();
    poster.post(&receiver.url(), &report("2")).unwrap();
    // The future of `shutdown` is polled once, which starts the shutdown, and is then dropped.
    let mut shutdown = Box::pin(guard.shutdown(LONG));
    std::future::poll_fn(|context| Poll::Ready(shutdown.as_mut().poll(context).is_ready())).await;
    drop((shutdown, poster));
    receiver.received(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_taken_in_is_an_error_that_says_why() {
    let deaf = silent();
    let (poster, guard) = Poster::builder().trust(deaf.url()).memory(2, 1 << 20).start().unwrap();
    let error = poster.post("nonsense", &report("1")).unwrap_err();
    assert!(!error.is_full() && !error.is_closed());
    assert_eq!(error.to_string(), "the webhook cannot be used");
    poster.post(&deaf.url(), &report("1")).unwrap();
    poster.post(&deaf.url(), &report("2")).unwrap();
    assert!(poster.post(&deaf.url(), &report("3")).unwrap_err().is_full());
    guard.shutdown(Duration::ZERO).await;
    assert!(poster.post(&deaf.url(), &report("4")).unwrap_err().is_closed());
}

#[test]
fn a_trusted_url_that_is_none_is_told_at_start() {
    let error = Poster::builder().trust("hooks.example.com").start().unwrap_err();
    assert!(!error.is_installed());
    assert_eq!(error.to_string(), "a trusted URL cannot be used");
}

#[tokio::test]
async fn a_guard_dropped_on_a_current_thread_runtime_does_not_block_it() {
    let deaf = silent();
    let (poster, guard) = Poster::builder().trust(deaf.url()).start().unwrap();
    poster.post(&deaf.url(), &report("1")).unwrap();
    deaf.received(1).await;
    let begun = Instant::now();
    drop(guard);
    assert!(begun.elapsed() < super::flush::DROP_TIMEOUT, "it waited");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_dropped_elsewhere_flushes() {
    let receiver = Receiver::answering(OK);
    let (poster, guard) = Poster::builder().trust(receiver.url()).start().unwrap();
    poster.post(&receiver.url(), &report("1")).unwrap();
    drop(guard);
    assert_eq!(receiver.requests().len(), 1);
    assert!(poster.post(&receiver.url(), &report("2")).unwrap_err().is_closed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_reports_through_the_sink_and_what_on_leaves_out_is_not_told() {
    use super::ambient::{Call, Role};
    use postback_wire::report::{Ends, Outcome, Reason};

    let receiver = Receiver::answering(OK);
    let (poster, guard) = Poster::builder().trust(receiver.url()).start().unwrap();
    let sink = poster.sink();
    let end = |id: &str, on, outcome| {
        let call = Call::new(Webhooks::of(&vec![receiver.url(), "nonsense".to_owned()]), id, on, false);
        let role = sink.begin(&call);
        assert_eq!(role, Role::Posted);
        sink.end(call, role, outcome);
    };
    let now = sink.now();
    end("told", Ends::default(), Outcome::completed(None, now));
    end("untold", Ends::FAILED, Outcome::completed(None, now));
    end("dropped, untold", Ends::default(), Outcome::failed(Reason::Dropped, None, now));
    end("dropped, told", Ends::DROPPED, Outcome::failed(Reason::Dropped, None, now));
    let nothing = Call::new(Webhooks::default(), "nobody", Ends::default(), false);
    assert_eq!(sink.begin(&nothing), Role::Ignored);

    guard.shutdown(LONG).await;
    let mut explanation: Vec<_> =
        receiver.requests().into_iter().map(|request| String::from_utf8(request.body).unwrap()).collect();
    explanation.sort();
    assert_eq!(explanation, [r#"{"id":"dropped, told","status":"failed"}"#, r#"{"id":"told","status":"completed"}"#]);
}

#[tokio::test]
async fn turned_off_a_poster_takes_everything_counts_it_and_runs_nothing() {
    let (poster, guard) = Poster::builder().discard().start().unwrap();
    let both = ["https://example.com/a", "https://example.com/b"];
    poster.post(&both, &report("1")).unwrap();
    poster.post_durably("https://example.com/", &report("2")).await.unwrap();
    assert_eq!(poster.post("nonsense", &report("3")).unwrap_err().to_string(), "the webhook cannot be used");
    let call = ambient::Call::new(Webhooks::of(&both), "4", postback_wire::report::Ends::default(), false);
    assert_eq!(poster.sink().begin(&call), ambient::Role::Ignored, "its outcome is not even serialised");
    let flushed = poster.flush(Duration::ZERO).await;
    assert_eq!(flushed, Flushed { discarded: 5, known: true, ..Flushed::default() });
    assert_eq!(
        flushed.to_string(),
        "0 delivered, 0 stored for later, 0 waiting, 0 lost, 5 discarded: reporting is turned off"
    );
    assert_eq!(guard.shutdown(Duration::ZERO).await.discarded, 5);
    Poster::builder().trust("nonsense").discard().start().unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn in_memory_the_bytes_that_wait_are_bounded_too_and_what_has_no_room_is_refused() {
    let deaf = silent();
    let (poster, guard) = Poster::builder().trust(deaf.url()).memory(1_000, 64 << 10).start().unwrap();
    let large = Report::completed("large", &"x".repeat(40 << 10)).unwrap();
    poster.post(&deaf.url(), &large).unwrap();
    assert!(poster.post(&deaf.url(), &large).unwrap_err().is_full());
    assert!(poster.post_durably(&deaf.url(), &large).await.unwrap_err().is_full());
    poster.post(&deaf.url(), &report("small")).unwrap();
    guard.shutdown(Duration::ZERO).await;
}

/// A process can install only one poster, so this test starts a second process that runs the test.
#[test]
fn a_second_install_is_an_error_that_leaves_no_file_and_the_first_goes_on() {
    const INNER: &str = "POSTBACK_TEST_SECOND_INSTALL";
    #[expect(clippy::disallowed_methods, reason = "how the outer process talks to the inner one")]
    if let Ok(url) = std::env::var(INNER) {
        install_twice(&url);
        return;
    }
    let receiver = Receiver::answering(OK);
    let mut inner = std::process::Command::new(std::env::current_exe().unwrap());
    inner.args(["--exact", "poster::tests::a_second_install_is_an_error_that_leaves_no_file_and_the_first_goes_on"]);
    let output = inner.env(INNER, receiver.url()).env_remove("POSTBACK_DISABLED").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let bodies: Vec<_> = receiver.requests().into_iter().map(|request| request.body).collect();
    assert_eq!(bodies, [&br#"{"id":"before","status":"completed"}"#[..], br#"{"id":"after","status":"completed"}"#]);
}

fn install_twice(url: &str) {
    use postback_wire::report::{Ends, Outcome};

    let report = |id: &str| {
        let call = ambient::Call::new(Webhooks::of(url), id, Ends::default(), false);
        let sink = ambient::sink_for(&call).unwrap();
        let role = sink.begin(&call);
        sink.end(call, role, Outcome::completed(None, sink.now()));
        block_on(flush(LONG))
    };
    let guard = Poster::builder().trust(url).install().unwrap();
    assert_eq!(report("before").delivered, 1);

    let folder = tempfile::tempdir().unwrap();
    let second = Poster::builder().trust("https://elsewhere.example.com/");
    #[cfg(feature = "sqlite")]
    let second = second.sqlite(folder.path().join("second.db"));
    let error = second.install().unwrap_err();
    assert!(error.is_installed());
    assert!(error.to_string().starts_with("a poster is installed already; install one per process"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "a file was made for nothing");
    // The failed `install` has changed nothing, so the next `install` fails with the same error.
    assert!(Poster::builder().install().unwrap_err().is_installed());

    assert_eq!(report("after").delivered, 2);
    assert_eq!(block_on(guard.shutdown(LONG)).delivered, 2);
}
