//! Tests of answers that are not valid HTTP. The status and the few header fields that the delivery needs are used even
//! so.

use std::io::Write as _;

use super::faults::{NEVER, patient, raw, read_request};
use super::tests::{answered, send, trusted};
use super::*;
use crate::delivery::receiver::Receiver;
use crate::policy::guard::Reach;

/// Makes an attempt at a receiver that writes `answer` and closes the connection. Returns the result of the attempt.
async fn told(answer: impl Into<Vec<u8>>) -> AttemptResult {
    let answer = answer.into();
    let port = raw(move |mut stream| {
        read_request(&mut stream)?;
        stream.write_all(&answer)
    });
    send(&patient(NEVER), &format!("http://127.0.0.1:{port}/in"), Reach::Private).await
}

#[tokio::test]
async fn an_odd_field_leaves_the_status_and_the_fields_that_count() {
    let many = "x-many: 1\r\n".repeat(3_000);
    let long = format!("x-long: {}\r\n", "y".repeat(600_000));
    for odd_answers in [
        "x space: 1\r\n",
        " x-first-is-space: 1\r\n",
        "x-folded: a\r\n b\r\n\tc\r\n",
        "x-del: a\u{7f}b\r\n",
        "x-nul: a\0b\r\n",
        "x-esc: \u{1b}[31m\r\n",
        "x-return: a\rb\r\n",
        ": no name\r\n",
        "no colon\r\n",
        "x-space-before-colon : 1\r\n",
        "x-\u{fc}: 1\r\n",
        "x-value: \u{fc}\r\n",
        "content-length: many\r\n",
        "content-length: -1\r\n",
        "content-length: 1\r\ncontent-length: 2\r\n",
        "content-length: 99999999999999999999999999\r\n",
        "content-length: 5\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: gzip\r\n",
        "connection: \0\r\n",
        &many,
        &long,
    ] {
        let attempted = told(format!("HTTP/1.1 200 OK\r\n{odd_answers}\r\n")).await;
        assert_eq!(attempted.end, answered(200), "{:?} {attempted:?}", &odd_answers[..odd_answers.len().min(60)]);
        assert_eq!((attempted.attempt.status, attempted.attempt.error), (Some(200), None));
        let attempted = told(format!("HTTP/1.1 503 X\r\nRetry-After: 90\r\nx: 1\r\n{odd_answers}\r\n")).await;
        let asked = Answer { status: 503, retry_after: Some(Duration::from_secs(90)), directive: None };
        assert_eq!(
            attempted.end,
            AttemptEnd::Answered(asked),
            "{:?} {attempted:?}",
            &odd_answers[..odd_answers.len().min(60)]
        );
        let attempted = told(format!("HTTP/1.1 503 X\r\nwebhook-delivery: disable\r\nx: 1\r\n{odd_answers}\r\n")).await;
        let AttemptEnd::Answered(answer) = attempted.end else { panic!("{attempted:?}") };
        assert!(answer.status == 503 && answer.disables());
    }
}

#[tokio::test]
async fn an_odd_status_line_counts_and_so_does_an_answer_that_is_cut() {
    for answer in [
        "HTTP/1.1 200\r\n\r\n",
        "HTTP/1.1 200 \r\n\r\n",
        "HTTP/1.0 200 OK\r\n\r\n",
        "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\n\n",
        "HTTP/1.1 200 \u{fc}\r\n\r\n",
        "HTTP/1.1  200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\nx-cut",
        "HTTP/1.1 200 OK\r\n\r\nno length",
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\ncut",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nlonger",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nx space: 1\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nx: \0\r\n\r\n",
        "\r\nHTTP/1.1 200 OK\r\n\r\n",
    ] {
        let attempted = told(answer).await;
        assert_eq!(attempted.end, answered(200), "{answer:?} {attempted:?}");
    }
    for answer in ["HTTP/1.1 103 Early Hints\r\n\r\n", "HTTP/1.1 200 OK", "HTTP/1.1 20", "HTTP/2.0 200 OK\r\n\r\n"] {
        assert_eq!(told(answer).await.end, AttemptEnd::Failed, "{answer:?}");
    }
}

#[tokio::test]
async fn an_odd_answer_is_not_taken_for_that_to_the_next_report() {
    // The receiver answers a request for `/first`. At every other request, it closes the connection without an answer.
    let receiver = Receiver::new(|request, out| {
        if request.line.contains("/first") {
            out.write_all(b"HTTP/1.1 200 OK\r\nx space: 1\r\ncontent-length: 0\r\n\r\n")
        } else {
            Err(std::io::Error::other("closed"))
        }
    });
    let sender = Sender::new(&patient(NEVER), Clock::from_fn(|| super::tests::NOW)).unwrap();
    let url = |path: &str| format!("http://127.0.0.1:{}/{path}", receiver.port());
    for _ in 0..20 {
        let first = super::tests::send_with(&sender, &url("first"), Reach::Private).await;
        assert_eq!(first.end, answered(200));
        let second = super::tests::send_with(&sender, &url("second"), Reach::Private).await;
        assert_eq!(second.end, AttemptEnd::Failed, "{second:?}");
    }
    assert_eq!(trusted(&url("first")).await.end, answered(200));
}
