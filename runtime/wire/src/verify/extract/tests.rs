//! What a router with the extractor answers to valid and invalid webhooks.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::DefaultBodyLimit;
use axum::routing::post;
use http::HeaderName;
use serde::Deserialize;
use tower::ServiceExt as _;

use super::*;
use crate::names::header::{WEBHOOK_ID, WEBHOOK_SIGNATURE, WEBHOOK_TIMESTAMP};
use crate::secret::Secret;
use crate::signature::sign;
use crate::time::Clock;

const BODY: &[u8] = br#"{"id":"a","status":"completed"}"#;

#[derive(Deserialize)]
struct Report {
    status: String,
}

async fn json(report: Verified<Report>) -> String {
    format!("{} {}", report.status, report.id())
}

async fn raw(body: Verified<Bytes>) -> Bytes {
    body.into_inner()
}

/// Sends a webhook to the receiver by HTTP POST, and returns the status and the text of the answer. The webhook's time
/// is the current time plus `seconds`. If `seconds` is negative, the webhook's time is in the past.
async fn posted(keys: VerifyingKeys, path: &str, secret: &Secret, body: &[u8], seconds: i64) -> (u16, String) {
    let timestamp = Clock::system().now().unix_seconds() + seconds;
    let mut request = Request::post(path).body(Body::from(body.to_vec())).unwrap();
    let signature = sign(std::slice::from_ref(secret), "report-1", timestamp, body).unwrap();
    for (name, value) in
        [(WEBHOOK_ID, "report-1"), (WEBHOOK_TIMESTAMP, &timestamp.to_string()), (WEBHOOK_SIGNATURE, &signature)]
    {
        request.headers_mut().insert(HeaderName::from_static(name), value.parse().unwrap());
    }
    answered(keys, request).await
}

async fn answered(keys: VerifyingKeys, request: Request) -> (u16, String) {
    let router = Router::new().route("/json", post(json)).route("/raw", post(raw));
    let router = router.layer(DefaultBodyLimit::max(64)).with_state(keys);
    let response = router.oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), 4_096).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn a_genuine_webhook_reaches_the_handler_as_json_or_as_it_came() {
    for secret in [Secret::generate(), Secret::generate_ed25519()] {
        let keys = VerifyingKeys::from(secret.clone());
        assert_eq!(posted(keys.clone(), "/json", &secret, BODY, 0).await, (200, "completed report-1".to_owned()));
        let odd = b" not JSON \n";
        let (status, echoed) = posted(keys, "/raw", &secret, odd, 0).await;
        assert_eq!((status, echoed.as_bytes()), (200, &odd[..]));
    }
}

#[tokio::test]
async fn others_are_answered_with_what_is_wrong() {
    let secret = Secret::generate();
    let keys = VerifyingKeys::from(secret.clone());
    let (status, text) = posted(keys.clone(), "/json", &Secret::generate(), BODY, 0).await;
    assert_eq!((status, text.starts_with("no signature matches: ")), (401, true), "{text}");
    let (status, text) = posted(keys.clone(), "/json", &secret, BODY, -400).await;
    assert_eq!((status, text.contains("signed 40")), (401, true), "{text}");
    let unsigned = Request::post("/json").body(Body::from(BODY)).unwrap();
    let (status, text) = answered(keys.clone(), unsigned).await;
    assert_eq!((status, text.starts_with("the header `webhook-id` is missing")), (400, true), "{text}");
    let long = [b' '; 65];
    let expected = (413, "the body is too long for this receiver\n".to_owned());
    assert_eq!(posted(keys.clone(), "/raw", &secret, &long, 0).await, expected);
    // The answer does not say what the receiver expects in the JSON.
    let expected = (400, "the body is not the JSON that this receiver expects\n".to_owned());
    assert_eq!(posted(keys, "/json", &secret, br#"{"status":7}"#, 0).await, expected);
    let expected = (500, "webhooks cannot be verified here at the moment\n".to_owned());
    assert_eq!(posted(VerifyingKeys::from_iter([]), "/json", &secret, BODY, 0).await, expected);
}

/// Sends requests whose body never arrives. If there is an answer, the receiver did not wait for the body.
#[tokio::test]
async fn what_the_headers_tell_is_told_before_the_body_is_read() {
    let secret = Secret::generate();
    let refused = async |headers: &[(&'static str, String)]| {
        let body = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
        let mut request = Request::post("/raw").body(body).unwrap();
        for (name, value) in headers {
            request.headers_mut().append(HeaderName::from_static(name), value.parse().unwrap());
        }
        answered(VerifyingKeys::from(secret.clone()), request).await
    };
    let now = Clock::system().now().unix_seconds();
    let full = |timestamp: i64, signature: &str| {
        [
            (WEBHOOK_ID, "report-1".to_owned()),
            (WEBHOOK_TIMESTAMP, timestamp.to_string()),
            (WEBHOOK_SIGNATURE, signature.to_owned()),
        ]
    };
    assert_eq!(refused(&[]).await.0, 400);
    assert_eq!(refused(&full(now - 400, "v1,AAAA")).await.0, 401);
    assert_eq!(refused(&full(now, "v1a,AAAA")).await.0, 401);
    assert_eq!(refused(&full(now, &["v1,AAAA"; 17].join(" "))).await.0, 400);
    let twice = [full(now, "v1,AAAA"), full(now, "v1,AAAA")].concat();
    assert_eq!(refused(&twice).await.0, 400);
}

#[tokio::test]
async fn a_forged_body_is_not_even_parsed() {
    let keys = VerifyingKeys::from(Secret::generate());
    let (status, _) = posted(keys, "/json", &Secret::generate(), b"{", 0).await;
    assert_eq!(status, 401);
}

#[tokio::test]
async fn why_a_genuine_webhook_does_not_fit_is_in_the_receivers_log() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let secret = Secret::generate();
    let keys = VerifyingKeys::from(secret.clone());
    let (status, answer) = posted(keys.clone(), "/json", &secret, br#"{"id":"a","state":1}"#, 0).await;
    assert_eq!((status, answer.contains("status")), (400, false), "the sender is not told what is expected: {answer}");
    assert_eq!(posted(keys, "/json", &Secret::generate(), b"{}", 0).await.0, 401);
    let lines = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(lines.contains("the webhook report-1 is genuine") && lines.contains("missing field `status`"), "{lines}");
    assert_eq!(lines.lines().count(), 1, "strangers cannot fill the log:\n{lines}");
}

#[derive(Clone, Default)]
struct Lines(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
