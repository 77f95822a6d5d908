//! Tests of attempts at HTTP/2 receivers: receivers that work, refuse a stream, or send GOAWAY.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use h2::server::SendResponse;
use rustls::{ServerConnection, StreamOwned};

use super::tests::{BODY, NOW, answered, error, options, send_body, send_with};
use super::*;
use crate::delivery::receiver::{CA_FILE, http2, http2_tls};
use crate::policy::guard::Reach;

/// A number of bytes that is larger than the part of an answer that the client reads, and larger than the flow-control
/// windows of both sides.
const SOME: usize = 64 << 20;

/// Returns a sender whose timeout is far longer than the test, so that no attempt ends with a timeout.
fn sender() -> Sender {
    let options = Options { ca_file: Some(PathBuf::from(CA_FILE)), timeout: Duration::from_mins(10), ..options() };
    Sender::new(&options, Clock::from_fn(|| NOW)).unwrap()
}

fn ok(mut respond: SendResponse<Bytes>) {
    drop(respond.send_response(http::Response::new(()), true).unwrap());
}

#[tokio::test]
async fn http_2_is_spoken_where_the_receiver_offers_it_and_an_endless_answer_costs_its_stream_alone() {
    let unended = Mutex::new(Vec::new());
    let (port, seen, _server) = http2(move |_, path, mut respond| {
        if path != "/endless" {
            return ok(respond);
        }
        let mut body = respond.send_response(http::Response::new(()), false).unwrap();
        body.send_data(Bytes::from(vec![b'x'; SOME]), false).unwrap();
        unended.lock().unwrap().push(body);
    })
    .await;
    let sender = sender();
    for path in ["a", "endless", "b"] {
        let attempted = send_with(&sender, &format!("https://127.0.0.1:{port}/{path}"), Reach::Private).await;
        assert_eq!(attempted.end, answered(200), "{attempted:?}");
        assert_eq!(attempted.attempt.response.len(), if path == "endless" { MAX_KEPT } else { 0 });
    }
    let seen: Vec<_> = seen.lock().unwrap().clone();
    assert_eq!(seen, [(0, "/a".into()), (0, "/endless".into()), (0, "/b".into())], "one connection");
}

#[tokio::test]
async fn a_stream_that_is_refused_is_a_failure_that_says_so_and_its_connection_is_used_again() {
    for (reason, asked, told) in [
        (h2::Reason::REFUSED_STREAM, 2, "refused by the receiver before it was processed (HTTP/2 REFUSED_STREAM)"),
        (h2::Reason::ENHANCE_YOUR_CALM, 1, "aborted by the receiver (HTTP/2 ENHANCE_YOUR_CALM)"),
        (h2::Reason::NO_ERROR, 1, "aborted by the receiver (HTTP/2 NO_ERROR)"),
    ] {
        let (port, seen, _server) = http2(move |_, path, mut respond| match path {
            "/refused" => respond.send_reset(reason),
            _ => ok(respond),
        })
        .await;
        let sender = sender();
        for path in ["refused", "taken", "refused", "taken"] {
            let attempted = send_with(&sender, &format!("https://127.0.0.1:{port}/{path}"), Reach::Private).await;
            if path == "taken" {
                assert_eq!(attempted.end, answered(200), "{attempted:?}");
            } else {
                assert_eq!(
                    (attempted.end, error(&attempted), attempted.unprocessed),
                    (AttemptEnd::Failed, told, asked == 2)
                );
            }
        }
        // A request that was not processed is sent once more without a pause. After every other failure, the request is
        // not repeated, because the report is retried on its schedule.
        let refused = std::iter::repeat_n("/refused", asked);
        let expected: Vec<_> = refused.chain(["/taken"]).map(|path| (0, path.to_owned())).collect();
        assert_eq!(*seen.lock().unwrap(), [expected.clone(), expected].concat());
    }
}

/// Starts a receiver that reads a request on each connection and then sends a GOAWAY frame. The frame says that no
/// stream was processed.
fn going_away(reason: h2::Reason) -> u16 {
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let reason = u8::try_from(u32::from(reason)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = StreamOwned::new(ServerConnection::new(Arc::new(http2_tls())).unwrap(), stream.unwrap());
            stream.write_all(&SETTINGS).unwrap();
            let mut read = Vec::new();
            while !read.windows(BODY.len()).any(|part| part == BODY) {
                let mut more = [0; 1_024];
                let length = stream.read(&mut more).unwrap();
                read.extend_from_slice(&more[..length]);
            }
            stream.write_all(&[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, reason]).unwrap();
            std::thread::spawn(move || {
                // The receiver sends no more bytes, and waits until the client closes the connection.
                let _ = std::io::copy(&mut stream, &mut std::io::sink());
            });
        }
    });
    port
}

#[tokio::test]
async fn a_receiver_that_goes_away_before_it_processed_the_request_is_a_failure_that_says_so() {
    for (reason, told) in [
        (
            h2::Reason::NO_ERROR,
            "connection closed by the receiver before it processed the request (HTTP/2 GOAWAY, NO_ERROR)",
        ),
        (
            h2::Reason::ENHANCE_YOUR_CALM,
            "connection closed by the receiver before it processed the request (HTTP/2 GOAWAY, ENHANCE_YOUR_CALM)",
        ),
    ] {
        // Each attempt opens two connections: one for the request, and one for the repeated request.
        let (port, sender) = (going_away(reason), sender());
        for _ in 0..2 {
            let attempted = send_with(&sender, &format!("https://127.0.0.1:{port}/in"), Reach::Private).await;
            assert_eq!((attempted.end, error(&attempted), attempted.unprocessed), (AttemptEnd::Failed, told, true));
        }
    }
}

#[tokio::test]
async fn a_stream_that_is_refused_once_costs_nothing() {
    let refused = std::sync::atomic::AtomicBool::new(false);
    let (port, seen, _server) = http2(move |_, _, mut respond| {
        if refused.swap(true, std::sync::atomic::Ordering::SeqCst) {
            ok(respond);
        } else {
            respond.send_reset(h2::Reason::REFUSED_STREAM);
        }
    })
    .await;
    let attempted = send_with(&sender(), &format!("https://127.0.0.1:{port}/in"), Reach::Private).await;
    assert_eq!((attempted.end, attempted.unprocessed), (answered(200), false), "{attempted:?}");
    assert_eq!(seen.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn an_answer_counts_that_comes_before_the_body_was_read() {
    // The body is larger than the flow-control windows of both sides.
    let body = Bytes::from(vec![b' '; 4 << 20]);
    for (status, reset) in [(200, true), (413, true), (401, false)] {
        let kept = Mutex::new(Vec::new());
        let (port, _, _server) = http2(move |_, _, mut respond| {
            let answer = http::Response::builder().status(status).body(()).unwrap();
            let stream = respond.send_response(answer, true).unwrap();
            // If the handle is dropped here, h2 resets the stream with NO_ERROR after the answer, because the body is
            // not read. If the handle is kept, h2 does not reset the stream.
            if !reset {
                kept.lock().unwrap().push((respond, stream));
            }
        })
        .await;
        let attempted = send_body(&sender(), &format!("https://127.0.0.1:{port}/in"), body.clone()).await;
        assert_eq!(attempted.end, answered(status), "{attempted:?}");
    }
}
