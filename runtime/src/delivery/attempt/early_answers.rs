//! Tests of receivers that answer before they have read the whole request, and close or reset the connection.

use std::io::{Read as _, Write as _};

use super::faults::{NEVER, keep_open, patient, raw};
use super::tests::{NOW, answered, send_body};
use super::*;

/// The size of a body that does not fit into the socket buffers of the client and the receiver. So the client is still
/// writing the body when the answer arrives.
const LARGE_BODY: usize = 16 << 20;

fn sender() -> Sender {
    Sender::new(&patient(NEVER), Clock::from_fn(|| NOW)).unwrap()
}

async fn sent(port: u16, body: usize) -> AttemptResult {
    send_body(&sender(), &format!("http://127.0.0.1:{port}/in"), Bytes::from(vec![b' '; body])).await
}

#[tokio::test]
async fn an_answer_that_comes_before_the_body_was_read_counts_though_the_connection_is_reset() {
    for status in [200, 401, 413] {
        // If a socket is closed while it has unread bytes, the operating system resets the connection.
        let closing = raw(move |mut stream| {
            stream.read_exact(&mut [0; 64])?;
            // One call writes the whole answer. With several calls, the operating system could hold back the later
            // bytes until the client acknowledges the first bytes, and the reset would drop the later bytes.
            let answer = format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes())
        });
        for body in [1 << 10, 256 << 10, LARGE_BODY] {
            let attempted = sent(closing, body).await;
            assert_eq!(attempted.end, answered(status), "{body} {attempted:?}");
        }
    }
}

#[tokio::test]
async fn an_answer_counts_of_a_receiver_that_reads_no_more_and_keeps_the_connection() {
    let keeping = raw(|mut stream| {
        stream.read_exact(&mut [0; 64])?;
        stream.write_all(b"HTTP/1.1 413 X\r\ncontent-length: 0\r\n\r\n")?;
        keep_open(stream);
        Ok(())
    });
    assert_eq!(sent(keeping, LARGE_BODY).await.end, answered(413));
}

#[tokio::test]
async fn who_resets_the_connection_without_an_answer_has_not_answered() {
    let silent = raw(|mut stream| stream.read_exact(&mut [0; 64]));
    for body in [1 << 10, LARGE_BODY] {
        let attempted = sent(silent, body).await;
        assert_eq!(attempted.end, AttemptEnd::Failed, "{attempted:?}");
        let error = attempted.attempt.error.unwrap();
        let words = ["connection reset", "connection closed too early", "connection closed while sending"];
        assert!(words.contains(&error.as_str()) || error.contains("closed"), "{error}");
    }
}
