//! Tests of attempts at broken or hostile receivers. Each attempt ends in bounded time and keeps a bounded number of
//! bytes.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::tests::{Names, answered, error, options, send, trusted};
use super::*;
use crate::delivery::receiver::{OK, Receiver};
use crate::policy::guard::Reach;

/// A number of bytes that does not fit into the socket buffers of the client and the receiver. If the client stops
/// reading an endless answer, the receiver can send only fewer bytes than this.
const SOME: usize = 64 << 20;

/// Starts a receiver that runs `behave` for each connection, on a separate thread. Returns the receiver's port.
pub(super) fn raw(behave: impl Fn(TcpStream) -> std::io::Result<()> + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let behave = Arc::new(behave);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let behave = behave.clone();
            std::thread::spawn(move || behave(stream?));
        }
    });
    port
}

/// Reads a whole request.
pub(super) fn read_request(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut read = Vec::new();
    while !read.ends_with(super::tests::BODY) {
        let mut more = [0; 1_024];
        let length = stream.read(&mut more)?;
        if length == 0 {
            return Err(std::io::Error::other("closed"));
        }
        read.extend_from_slice(&more[..length]);
    }
    Ok(())
}

/// Keeps the connection open and sends no more bytes.
pub(super) fn keep_open(stream: TcpStream) {
    std::thread::park();
    drop(stream);
}

pub(super) fn patient(timeout_ms: u64) -> Options {
    Options { timeout: Duration::from_millis(timeout_ms), ..options() }
}

/// A timeout in milliseconds that is far longer than the test, so that it ends no attempt.
pub(super) const NEVER: u64 = 600_000;

/// Makes one attempt and expects that the attempt ends with a timeout.
async fn times_out(port: u16) {
    let options = patient(300);
    let attempted = send(&options, &format!("http://127.0.0.1:{port}/in"), Reach::Private).await;
    assert_eq!((attempted.end, error(&attempted)), (AttemptEnd::Failed, "timed out after 300 ms"));
    assert!(attempted.attempt.took >= options.timeout);
}

/// Starts a receiver that sends `head`, and then sends `more` again and again until the client closes the connection.
/// Returns the receiver's port and the number of bytes that the receiver has sent so far.
fn endless(head: &'static [u8], more: &'static [u8]) -> (u16, Arc<AtomicUsize>) {
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = sent.clone();
    let port = raw(move |mut stream| {
        read_request(&mut stream)?;
        stream.write_all(head)?;
        loop {
            stream.write_all(more)?;
            counter.fetch_add(more.len(), Ordering::SeqCst);
        }
    });
    (port, sent)
}

#[tokio::test]
async fn an_endless_body_is_read_and_kept_to_a_bound_in_each_framing() {
    const CHUNK: &[u8] = b"400\r\n0123456789abcdef\r\n";
    let mut chunk = CHUNK.to_vec();
    chunk.splice(5..21, std::iter::repeat_n(b'x', 1_024));
    let chunk: &'static [u8] = chunk.leak();
    let block: &'static [u8] = &[b'x'; 8_192];
    for (head, more) in [
        (&b"HTTP/1.1 200 OK\r\n\r\n"[..], block),
        (b"HTTP/1.1 500 X\r\ncontent-length: 99999999999999\r\n\r\n", block),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", chunk),
    ] {
        let (port, sent) = endless(head, more);
        let attempted = send(&patient(NEVER), &format!("http://127.0.0.1:{port}/"), Reach::Private).await;
        assert!(matches!(attempted.end, AttemptEnd::Answered(_)), "{attempted:?}");
        assert_eq!(attempted.attempt.response.len(), MAX_KEPT);
        assert!(sent.load(Ordering::SeqCst) < SOME);
    }
}

#[tokio::test]
async fn interim_answers_without_end_are_read_to_a_bound() {
    let more: &'static [u8] = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".repeat(64).leak();
    let (port, sent) = endless(b"HTTP/1.1 100 Continue\r\n\r\n", more);
    let attempted = send(&patient(NEVER), &format!("http://127.0.0.1:{port}/"), Reach::Private).await;
    assert_eq!((attempted.end, error(&attempted)), (AttemptEnd::Failed, "the answer does not begin within 1024 KiB"));
    assert!(sent.load(Ordering::SeqCst) < SOME);
}

#[tokio::test]
async fn endless_headers_are_read_to_a_bound() {
    for more in [&b"x-more: and more\r\n"[..], &[b'x'; 8_192]] {
        let (port, sent) = endless(b"HTTP/1.1 500 X\r\nx-first: ", more);
        let attempted = send(&patient(NEVER), &format!("http://127.0.0.1:{port}/"), Reach::Private).await;
        assert_eq!(attempted.end, answered(500), "{attempted:?}");
        assert!(attempted.attempt.response.is_empty());
        assert!(sent.load(Ordering::SeqCst) < SOME);
    }
}

#[tokio::test]
async fn a_flood_of_interim_answers_costs_the_timeout() {
    for answer in ["HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n"] {
        let port = raw(move |mut stream| {
            read_request(&mut stream)?;
            loop {
                stream.write_all(answer.repeat(10).as_bytes())?;
                // Without this pause, the receiver would send faster than an unoptimised client can read, and use up
                // this machine's processor time.
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        times_out(port).await;
    }
}

#[tokio::test]
async fn an_upgrade_that_nobody_asked_for_is_no_delivery() {
    let receiver = Receiver::answering("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n");
    let attempted = send(&patient(300), &receiver.url(), Reach::Private).await;
    assert!(!matches!(attempted.end, AttemptEnd::Answered(answer) if answer.is_success()), "{attempted:?}");
}

#[tokio::test]
async fn who_accepts_and_is_silent_costs_the_timeout_before_http_and_before_tls() {
    let silent = || {
        raw(|stream| {
            keep_open(stream);
            Ok(())
        })
    };
    times_out(silent()).await;
    let attempted = send(&patient(300), &format!("https://127.0.0.1:{}/", silent()), Reach::Private).await;
    assert_eq!((attempted.end, error(&attempted)), (AttemptEnd::Failed, "timed out after 300 ms"));
}

#[tokio::test]
async fn who_drips_a_status_line_or_half_a_body_and_hangs_costs_the_timeout() {
    times_out(raw(|mut stream| {
        read_request(&mut stream)?;
        stream.write_all(b"HTTP/1.1 20")?;
        keep_open(stream);
        Ok(())
    }))
    .await;
    let half = Receiver::new(|_, out| {
        out.write_all(b"HTTP/1.1 500 X\r\ncontent-length: 10\r\n\r\nhello")?;
        out.flush()?;
        std::thread::park();
        Ok(())
    });
    let attempted = send(&patient(300), &half.url(), Reach::Private).await;
    assert_eq!((attempted.end, &attempted.attempt.response[..]), (answered(500), &b"hello"[..]));
    assert!(attempted.attempt.took >= Duration::from_millis(300), "the body's time counts");
}

#[tokio::test]
async fn a_name_server_that_never_answers_costs_the_timeout() {
    #[derive(Debug)]
    struct Never;
    impl crate::delivery::Lookup for Never {
        fn lookup(
            &self,
            _: &str,
        ) -> std::pin::Pin<Box<dyn Future<Output = std::io::Result<Vec<std::net::IpAddr>>> + Send>> {
            Box::pin(std::future::pending())
        }
    }
    let options = Options { resolver: Arc::new(Never), ..patient(300) };
    let attempted = send(&options, "http://hooks.test/in", Reach::Private).await;
    assert_eq!((attempted.end, error(&attempted)), (AttemptEnd::Failed, "timed out after 300 ms"));
}

#[tokio::test]
async fn a_bomb_stays_as_small_as_it_came() {
    const MEBIBYTE_OF_ZEROS: &[u8] = include_bytes!("../testdata/zeros.gz");
    let receiver = Receiver::new(|_, out| {
        let length = MEBIBYTE_OF_ZEROS.len();
        write!(out, "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {length}\r\n\r\n")?;
        out.write_all(MEBIBYTE_OF_ZEROS)
    });
    let attempted = trusted(&receiver.url()).await;
    assert_eq!((attempted.end, attempted.attempt.response), (answered(200), Bytes::from_static(MEBIBYTE_OF_ZEROS)));
}

#[tokio::test]
async fn a_body_that_ends_too_early_leaves_the_status_to_decide() {
    let receiver = Receiver::new(|_, out| {
        out.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")?;
        out.flush()?;
        Err(std::io::Error::other("closed"))
    });
    let attempted = trusted(&receiver.url()).await;
    assert_eq!((attempted.end, &attempted.attempt.response[..]), (answered(200), &b"half"[..]));
}

#[tokio::test]
async fn a_connection_that_is_reset_is_a_failure_said_in_words() {
    // If a socket is closed while it has unread bytes, the operating system resets the connection.
    let port = raw(|mut stream| stream.read_exact(&mut [0]));
    let attempted = trusted(&format!("http://127.0.0.1:{port}/in?token=s3cret")).await;
    assert_eq!(attempted.end, AttemptEnd::Failed);
    assert!(["connection reset", "connection closed too early"].contains(&error(&attempted)), "{}", error(&attempted));

    let port = raw(|mut stream| {
        stream.read_exact(&mut [0; 16])?;
        stream.write_all(b"HTTP/1.1 500 X\r\ncontent-length: 1000\r\n\r\nhalf")?;
        stream.shutdown(Shutdown::Write)
    });
    let attempted = trusted(&format!("http://127.0.0.1:{port}/in")).await;
    assert_eq!(attempted.end, answered(500), "what has come before the reset counts");
}

#[tokio::test]
async fn invalid_http_is_a_failure_said_in_words() {
    for answer in [
        "HTTP/1.1\r\n\r\n",
        "HTTP/9.9 200 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "\u{0}\u{1}\u{2}\u{3}\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "220 mail.example.com ESMTP\r\n",
        "SSH-2.0-OpenSSH_9.9\r\n",
    ] {
        let receiver = Receiver::new(move |_, out| {
            out.write_all(answer.as_bytes())?;
            out.flush()?;
            Err(std::io::Error::other("closed"))
        });
        let attempted = trusted(&receiver.url()).await;
        assert_eq!(attempted.end, AttemptEnd::Failed, "{answer:?}");
        assert!(
            error(&attempted).len() > 5 && !error(&attempted).contains(|c: char| c.is_control()),
            "{}",
            error(&attempted)
        );
    }
}

#[tokio::test]
async fn a_body_in_chunks_that_are_none_leaves_the_status_to_decide() {
    for chunks in ["zzz\r\nhello\r\n", "fffffffffffffffffffffffff\r\n", "5\r\nhello too long\r\n0\r\n\r\n"] {
        let receiver = Receiver::answering(format!("HTTP/1.1 500 X\r\ntransfer-encoding: chunked\r\n\r\n{chunks}"));
        let attempted = trusted(&receiver.url()).await;
        assert_eq!(attempted.end, answered(500), "{chunks:?}");
    }
}

#[tokio::test]
async fn a_redirect_to_metadata_or_elsewhere_is_a_failure_and_nobody_is_called() {
    let elsewhere = Receiver::answering(OK);
    for location in ["http://169.254.169.254/latest/meta-data/", &elsewhere.url(), "//hooks.test/", "/other", ""] {
        for status in [301, 302, 303, 307, 308] {
            let receiver = Receiver::answering(format!(
                "HTTP/1.1 {status} X\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n"
            ));
            let attempted = trusted(&receiver.url()).await;
            assert_eq!(attempted.end, answered(status), "{location}");
            assert!(error(&attempted).contains("redirects are not followed"));
            assert_eq!(receiver.requests().len(), 1);
        }
    }
    assert!(elsewhere.requests().is_empty());
}

#[tokio::test]
async fn http_to_a_port_that_speaks_tls_is_a_failure() {
    let receiver = Receiver::tls();
    let attempted = trusted(&format!("http://127.0.0.1:{}/in", receiver.port())).await;
    assert_eq!(attempted.end, AttemptEnd::Failed);
    assert_eq!(error(&attempted), failure::TLS_EXPECTED);
    assert!(receiver.requests().is_empty());
}

#[tokio::test]
async fn what_a_receiver_asks_for_is_taken_from_its_head() {
    let asks = async |headers: &str| {
        let receiver = Receiver::answering(format!("HTTP/1.1 503 X\r\n{headers}content-length: 0\r\n\r\n"));
        let AttemptEnd::Answered(answer) = trusted(&receiver.url()).await.end else { panic!("no answer") };
        (answer.retry_after, answer.directive)
    };
    assert_eq!(asks("").await, (None, None));
    assert_eq!(asks("retry-after: 90\r\n").await, (Some(Duration::from_secs(90)), None));
    // The clock of these tests shows 2026-11-23 08:00:00.123456.
    let (wait, _) = asks("Retry-After: Mon, 23 Nov 2026 08:02:00 GMT\r\n").await;
    assert_eq!(wait.unwrap().as_secs(), 119);
    assert_eq!(asks("retry-after: \u{ff}soon\r\n").await, (None, None));
    assert_eq!(asks("webhook-delivery: disable\r\n").await, (None, Some(ReceiverDirective::Disable)));
    assert_eq!(asks("Webhook-Delivery: abort-message\r\n").await, (None, Some(ReceiverDirective::AbortMessage)));
}

#[tokio::test]
async fn an_own_listener_is_called_by_trusted_webhooks_only() {
    let (own, other) = (Receiver::answering(OK), Receiver::answering(OK));
    let options = |listen: &str| Options {
        allow_networks: vec!["127.0.0.0/8".parse().unwrap()],
        own_addresses: vec![format!("{listen}:{}", own.port()).parse().unwrap()],
        resolver: Names::of(&["127.0.0.1"]),
        ..patient(NEVER)
    };
    for listen in ["127.0.0.1", "0.0.0.0", "[::]"] {
        let options = options(listen);
        let url = |host: &str, receiver: &Receiver| format!("http://{host}:{}/in", receiver.port());
        let literal = send(&options, &url("127.0.0.1", &own), Reach::Public).await;
        assert_eq!(literal.end, AttemptEnd::Refused, "{listen}");
        assert!(error(&literal).contains("this server's own"), "{}", error(&literal));
        assert_eq!(
            send(&options, &url("hooks.test", &own), Reach::Public).await.end,
            AttemptEnd::ForbiddenAddress,
            "{listen}"
        );
        assert!(own.requests().is_empty());
        assert_eq!(send(&options, &url("hooks.test", &other), Reach::Public).await.end, answered(204));
        assert_eq!(send(&options, &url("127.0.0.1", &other), Reach::Public).await.end, answered(204));
    }
    assert_eq!(send(&options("0.0.0.0"), &own.url(), Reach::Private).await.end, answered(204));
}
