//! Tests of single attempts against real sockets.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::{IpAddr, TcpListener};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use http::HeaderValue;

use super::*;
use crate::delivery::Lookup;
use crate::delivery::receiver::{CA_FILE, OK, Receiver};
use crate::policy::guard::Reach;
use postback_wire::secret::Secret;

pub(super) const NOW: Timestamp = Timestamp::from_micros(1_795_420_800_123_456);
pub(super) const BODY: &[u8] = br#"{"id":"a","status":"completed"}"#;

/// A resolver that answers each look-up with the next address of a list. After the last address, it repeats that
/// address.
#[derive(Debug)]
pub(in crate::delivery) struct Names(Mutex<VecDeque<IpAddr>>);

impl Names {
    pub(in crate::delivery) fn of(addresses: &[&str]) -> Arc<dyn Lookup> {
        Arc::new(Self(Mutex::new(addresses.iter().map(|ip| ip.parse().unwrap()).collect())))
    }
}

impl Lookup for Names {
    fn lookup(&self, _: &str) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>> {
        let mut left = self.0.lock().unwrap();
        let answer = if left.len() > 1 { left.pop_front() } else { left.front().copied() };
        let answer = answer.map(|ip| vec![ip]).ok_or_else(|| io::Error::other("Name or service not known"));
        Box::pin(async move { answer })
    }
}

pub(super) fn options() -> Options {
    Options { timeout: Duration::from_secs(5), resolver: Names::of(&[]), ..Options::default() }
}

fn secret() -> Secret {
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap()
}

pub(in crate::delivery) async fn send(options: &Options, url: &str, reach: Reach) -> AttemptResult {
    let sender = Sender::new(options, Clock::from_fn(|| NOW)).unwrap();
    send_with(&sender, url, reach).await
}

/// Sends this body to a URL that is allowed to be on a private network.
pub(super) async fn send_body(sender: &Sender, url: &str, body: Bytes) -> AttemptResult {
    let policy = DestinationPolicy { reach: Reach::Private, secrets: Cow::Owned(vec![secret()]) };
    sender.send(message(ReportId::generate(), body), &Webhook::new(url).unwrap(), &policy).await
}

pub(super) async fn send_with(sender: &Sender, url: &str, reach: Reach) -> AttemptResult {
    let policy = DestinationPolicy { reach, secrets: Cow::Owned(vec![secret()]) };
    sender.send(message(ReportId::generate(), Bytes::from_static(BODY)), &Webhook::new(url).unwrap(), &policy).await
}

/// The id that the reports of these tests are about.
const SUBJECT: &str = "0199b0e4-7a5d-7cc1-9b5e-0123456789ab";

fn message(id: ReportId, body: Bytes) -> Message<'static> {
    Message { id, subject: SUBJECT, body, span: None }
}

/// Returns the `AttemptEnd` for an answer that has this status, and no `Retry-After` and no directive.
pub(super) fn answered(status: u16) -> AttemptEnd {
    AttemptEnd::Answered(Answer { status, retry_after: None, directive: None })
}

pub(super) async fn trusted(url: &str) -> AttemptResult {
    send(&options(), url, Reach::Private).await
}

pub(super) fn error(attempted: &AttemptResult) -> &str {
    attempted.attempt.error.as_deref().unwrap()
}

#[tokio::test]
async fn an_attempt_has_exactly_these_headers_and_bytes() {
    let receiver = Receiver::answering(OK);
    let sender = Sender::new(&options(), Clock::from_fn(|| NOW)).unwrap();
    let id = ReportId::generate();
    let webhook = Webhook::new(format!("{}?a=1", receiver.url())).unwrap().header("authorization", "Bearer x").unwrap();
    let policy = DestinationPolicy { reach: Reach::Private, secrets: Cow::Owned(vec![secret()]) };
    let attempted = sender.send(message(id, Bytes::from_static(BODY)), &webhook, &policy).await;
    assert_eq!((attempted.end, attempted.attempt.status, attempted.attempt.error), (answered(204), Some(204), None));
    assert_eq!(attempted.attempt.started, NOW);

    let [request] = &receiver.requests()[..] else { panic!("one request") };
    assert_eq!(request.line, "POST /in?a=1 HTTP/1.1");
    assert_eq!(request.body, BODY);
    let signed = signature::sign(&[secret()], &id.to_string(), NOW.unix_seconds(), BODY).unwrap();
    let span = format!("{:016x}", u64::from_be_bytes(id.as_span()));
    let trace = format!("00-{}-{span}-01", SUBJECT.replace('-', ""));
    let expected = [
        ("accept", "*/*"),
        ("authorization", "Bearer x"),
        ("content-length", &BODY.len().to_string()),
        ("content-type", "application/json"),
        ("host", &format!("127.0.0.1:{}", receiver.port())),
        ("traceparent", &trace),
        ("user-agent", concat!("postback/", env!("CARGO_PKG_VERSION"))),
        ("webhook-id", &id.to_string()),
        ("webhook-signature", &signed),
        ("webhook-timestamp", "1795420800"),
    ];
    let got: Vec<_> = request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(got, expected);
}

#[tokio::test]
async fn without_a_secret_there_is_no_signature_and_stored_headers_replace_nothing() {
    let receiver = Receiver::answering(OK);
    let sender = Sender::new(&options(), Clock::from_fn(|| NOW)).unwrap();
    let mut own = postback_wire::webhook::Own::default();
    for name in ["webhook-id", "webhook-timestamp", "content-type", "user-agent"] {
        own.headers.insert(name, HeaderValue::from_static("forged"));
    }
    let webhook = Webhook::new(receiver.url()).unwrap().with_own(own);
    let policy = DestinationPolicy { reach: Reach::Private, secrets: Cow::Borrowed(&[]) };
    let _ = sender.send(message(ReportId::generate(), Bytes::from_static(BODY)), &webhook, &policy).await;
    let request = &receiver.requests()[0];
    assert_eq!(request.header("webhook-signature"), None);
    assert!(request.headers.iter().all(|(_, value)| value != "forged"), "{request:?}");
}

#[tokio::test]
async fn a_failure_keeps_status_and_the_beginning_of_the_body() {
    let receiver = Receiver::answering("HTTP/1.1 500 Oops\r\ncontent-length: 5\r\n\r\nsorry");
    let attempted = trusted(&receiver.url()).await;
    assert_eq!((attempted.end, error(&attempted)), (answered(500), "answered 500"));
    assert_eq!(attempted.attempt.response, "sorry");
}

#[tokio::test]
async fn who_does_not_listen_is_said_in_words() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let attempted = trusted(&format!("http://127.0.0.1:{port}/?token=s3cret")).await;
    assert_eq!((attempted.end, error(&attempted)), (AttemptEnd::Failed, "connection refused"));
    assert_eq!(attempted.attempt.status, None);
}

#[tokio::test]
async fn what_does_not_resolve_is_said_in_words_without_the_query() {
    let attempted = trusted("http://hooks.test/in?token=s3cret").await;
    assert_eq!(
        (attempted.end, error(&attempted)),
        (AttemptEnd::Failed, "cannot resolve hooks.test: Name or service not known")
    );
}

#[tokio::test]
async fn an_answer_that_is_none_is_said_in_words_without_control_characters() {
    for answer in ["", "hello\u{1b}[31m\r\n\r\n", "HTTP/1.1 abc\r\n\r\n"] {
        let receiver = Receiver::new(move |_, out| {
            out.write_all(answer.as_bytes())?;
            Err(io::Error::other("closed"))
        });
        let attempted = trusted(&format!("{}?token=s3cret", receiver.url())).await;
        assert_eq!(attempted.end, AttemptEnd::Failed, "{answer:?}");
        let error = error(&attempted);
        assert!(!error.contains("s3cret") && !error.contains('\u{1b}') && error.len() > 5, "{error}");
    }
}

#[tokio::test]
async fn a_body_that_drips_costs_the_timeout_and_the_status_decides() {
    let receiver = Receiver::new(|_, out| {
        out.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")?;
        drip(out)
    });
    let options = Options { timeout: Duration::from_millis(300), ..options() };
    let attempted = send(&options, &receiver.url(), Reach::Private).await;
    assert_eq!(attempted.end, answered(200));
    assert!(attempted.attempt.took >= options.timeout);
}

#[tokio::test]
async fn who_never_answers_or_drips_headers_costs_the_timeout() {
    let silent = Receiver::new(|_, _| Ok(()));
    let dripping = Receiver::new(|_, out| {
        out.write_all(b"HTTP/1.1 103 Early Hints\r\nx-slow: ")?;
        drip(out)
    });
    let options = Options { timeout: Duration::from_millis(300), ..options() };
    for receiver in [silent, dripping] {
        let attempted = send(&options, &receiver.url(), Reach::Private).await;
        assert_eq!((attempted.end, error(&attempted)), (AttemptEnd::Failed, "timed out after 300 ms"));
    }
}

fn drip(out: &mut dyn Write) -> io::Result<()> {
    loop {
        out.write_all(b"x")?;
        out.flush()?;
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[tokio::test]
async fn a_bounded_answer_leaves_its_connection_to_the_next_attempt_and_a_longer_one_does_not() {
    for (length, reuses) in [(0, true), (60_000, true), (500_000, false)] {
        let body = "x".repeat(length);
        let receiver = Receiver::answering(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}"));
        let sender = Sender::new(&options(), Clock::from_fn(|| NOW)).unwrap();
        // The client returns the connection to its pool in another task. So the next attempt may start before the
        // connection can be used again.
        let reused = async {
            for attempts in 2.. {
                assert_eq!(send_with(&sender, &receiver.url(), Reach::Private).await.end, answered(200));
                let connections = receiver.requests().last().map_or(0, |request| request.connection) + 1;
                if connections + 1 < attempts || attempts > 20 {
                    return connections + 1 < attempts;
                }
            }
            false
        };
        assert_eq!(reused.await, reuses, "{length}");
    }
}

#[tokio::test]
async fn nothing_is_decompressed() {
    let receiver = Receiver::answering("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 6\r\n\r\nnot gz");
    let attempted = trusted(&receiver.url()).await;
    assert_eq!(attempted.attempt.response, "not gz");
    assert_eq!(receiver.requests()[0].header("accept-encoding"), None);
}

#[tokio::test]
async fn a_payloads_webhook_does_not_reach_loopback_by_number_or_by_name() {
    let receiver = Receiver::answering(OK);
    let options = Options { resolver: Names::of(&["127.0.0.1"]), ..options() };
    for host in ["127.0.0.1", "2130706433", "[::ffff:127.0.0.1]", "localhost", "hooks.test"] {
        let attempted = send(&options, &format!("http://{host}:{}/in", receiver.port()), Reach::Public).await;
        let by_name = host.ends_with("test") || host == "localhost";
        assert_eq!(attempted.end, if by_name { AttemptEnd::ForbiddenAddress } else { AttemptEnd::Refused }, "{host}");
        assert!(error(&attempted).contains("delivery.allow_networks"), "{}", error(&attempted));
    }
    assert!(receiver.requests().is_empty());
}

#[tokio::test]
async fn the_operators_webhook_reaches_loopback_and_not_metadata() {
    let receiver = Receiver::answering(OK);
    let options = Options { resolver: Names::of(&["127.0.0.1", "169.254.169.254"]), ..options() };
    let sender = Sender::new(&options, Clock::from_fn(|| NOW)).unwrap();
    let by_name = |host: &str| format!("http://{host}:{}/in", receiver.port());
    assert_eq!(send_with(&sender, &by_name("a.test"), Reach::Private).await.end, answered(204));
    assert_eq!(send_with(&sender, &by_name("b.test"), Reach::Private).await.end, AttemptEnd::ForbiddenAddress);
    let literal = send_with(&sender, "http://169.254.169.254/latest/meta-data", Reach::Private).await;
    assert_eq!(literal.end, AttemptEnd::Refused);
    assert!(!error(&literal).contains("allow_networks"), "no setting allows it");
    assert_eq!(receiver.requests().len(), 1);
}

/// This test runs only on Linux, because other systems do not have the address 127.0.0.2.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_name_that_moves_to_a_forbidden_address_is_refused_at_its_next_connection() {
    let receiver = Receiver::on("127.0.0.2", "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n");
    let options = Options {
        allow_networks: vec!["127.0.0.2/32".parse().unwrap()],
        resolver: Names::of(&["127.0.0.2", "127.0.0.1"]),
        ..options()
    };
    let sender = Sender::new(&options, Clock::from_fn(|| NOW)).unwrap();
    let url = format!("http://hooks.test:{}/in", receiver.port());
    assert_eq!(send_with(&sender, &url, Reach::Public).await.end, answered(204));
    let second = send_with(&sender, &url, Reach::Public).await;
    assert_eq!(second.end, AttemptEnd::ForbiddenAddress);
    assert!(error(&second).contains("127.0.0.1"));
}

#[tokio::test]
async fn tls_is_verified_against_the_roots_and_those_of_the_ca_file() {
    let receiver = Receiver::tls();
    let url = |host: &str| format!("https://{host}:{}/in", receiver.port());
    let with = |ca_file| Options { ca_file, resolver: Names::of(&["127.0.0.1"]), ..options() };

    let unknown = send(&with(None), &url("hooks.test"), Reach::Private).await;
    assert_eq!(unknown.end, AttemptEnd::Failed);
    assert!(error(&unknown).starts_with("TLS: "), "{}", error(&unknown));

    let known = with(Some(PathBuf::from(CA_FILE)));
    assert_eq!(send(&known, &url("hooks.test"), Reach::Private).await.end, answered(204));
    assert_eq!(send(&known, &url("127.0.0.1"), Reach::Private).await.end, answered(204));
    let misnamed = send(&known, &url("other.test"), Reach::Private).await;
    assert!(error(&misnamed).starts_with("TLS: "), "{}", error(&misnamed));
    assert_eq!(receiver.requests().len(), 2);

    let plain = Receiver::answering(OK);
    let no_tls = send(&known, &format!("https://hooks.test:{}/in", plain.port()), Reach::Private).await;
    assert!(error(&no_tls).starts_with("TLS: "), "{}", error(&no_tls));
}

/// A resolver whose look-ups fail with this error code of the operating system.
#[derive(Debug)]
struct Short(i32);

impl Lookup for Short {
    fn lookup(&self, _: &str) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>> {
        let error = io::Error::from_raw_os_error(self.0);
        Box::pin(async move { Err(error) })
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_this_machine_is_short_of_is_no_attempt() {
    for (code, shortage) in [(24, Some(Shortage::Files)), (12, Some(Shortage::Memory)), (2, None)] {
        let options = Options { resolver: Arc::new(Short(code)), ..options() };
        let attempted = send(&options, "http://hooks.test/in", Reach::Public).await;
        assert_eq!(attempted.shortage, shortage, "{attempted:?}");
        assert_eq!(attempted.end, if shortage.is_some() { AttemptEnd::NotMade } else { AttemptEnd::Failed });
    }
}

#[tokio::test]
async fn connections_are_bounded_over_all_hosts_and_the_longest_idle_make_room() {
    let receivers: Vec<_> =
        (0..6).map(|_| Receiver::answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")).collect();
    let options = Options { connections: Some(3), ..options() };
    let sender = Sender::new(&options, Clock::from_fn(|| NOW)).unwrap();
    for _ in 0..3 {
        for receiver in &receivers {
            assert_eq!(send_with(&sender, &receiver.url(), Reach::Private).await.end, answered(200));
        }
    }
    // No other host needs a connection, so this connection stays open and is used again.
    for _ in 0..3 {
        assert_eq!(send_with(&sender, &receivers[5].url(), Reach::Private).await.end, answered(200));
    }
    let connections: Vec<_> = receivers[5].requests().iter().map(|request| request.connection).collect();
    assert_eq!(connections, [0, 1, 2, 2, 2, 2]);
}

#[tokio::test]
async fn where_all_connections_are_in_use_an_attempt_is_put_off() {
    let (hanging, other) = (Receiver::new(|_, _| Ok(())), Receiver::answering(OK));
    let options = Options { connections: Some(1), timeout: Duration::from_hours(1), ..options() };
    let sender = Arc::new(Sender::new(&options, Clock::from_fn(|| NOW)).unwrap());
    let (of_first, url) = (sender.clone(), hanging.url());
    #[expect(clippy::disallowed_methods, reason = "its handle is held until it is aborted")]
    let first = tokio::spawn(async move { send_with(&of_first, &url, Reach::Private).await });
    hanging.received(1).await;
    let attempted = send_with(&sender, &other.url(), Reach::Private).await;
    assert_eq!((attempted.end, attempted.shortage), (AttemptEnd::NotMade, Some(Shortage::Connections)));
    assert!(error(&attempted).contains("all 1 connections that may be open are in use"), "{}", error(&attempted));
    assert!(other.requests().is_empty());
    first.abort();
}

#[tokio::test]
async fn a_large_body_is_signed_elsewhere_and_alike() {
    let sender = Sender::new(&options(), Clock::from_fn(|| NOW)).unwrap();
    let policy = DestinationPolicy { reach: Reach::Private, secrets: Cow::Owned(vec![secret()]) };
    let id = ReportId::generate();
    let large = Bytes::from(vec![b'x'; 16 << 20]);
    let mut signed = pin!(sender.sign((id, None), &policy, 1, &large));
    // If the body were signed on this thread, the first poll would return the result.
    assert!(futures_util::poll!(&mut signed).is_pending());
    assert_eq!(signed.await.standard, signature::sign(&[secret()], &id.to_string(), 1, &large));
    let small = large.slice(..LARGE);
    assert!(futures_util::poll!(pin!(sender.sign((id, None), &policy, 1, &small))).is_ready());
}
