//! Checks signatures against independent implementations, in both directions.
//!
//! The Rust implementations are dependencies. The Python packages are installed into the target folder when the tests
//! run. If they cannot be installed, their test is ignored.

mod formats;

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey as Dalek};
use http::{HeaderMap, HeaderName, HeaderValue};
use postback::{Poster, PublicKey, Report, Secret, VerifyError, VerifyingKey, verify};
use postback_tests::need::{self, trial};
use postback_tests::{Received, Receiver, python};
use serde_json::json;
use standardwebhooks::Webhook;

/// The published package for receivers in Python, and a package for Ed25519, which the first package does not support.
const PACKAGES: [&str; 2] = ["standardwebhooks==1.1.0", "cryptography==50.0.2"];

fn main() -> ExitCode {
    let arguments = need::arguments();
    // A listing of the tests does not need the Python packages.
    let packages =
        if arguments.list { Err(String::new()) } else { python::packages(env!("CARGO_TARGET_TMPDIR"), &PACKAGES) };
    let missing = packages.as_ref().map(drop).map_err(Clone::clone);
    let folder = packages.unwrap_or_default();
    let of_services = if arguments.list {
        Err(String::new())
    } else {
        python::packages(env!("CARGO_TARGET_TMPDIR"), &formats::PACKAGES)
    };
    let missing_of_services = of_services.as_ref().map(drop).map_err(Clone::clone);
    let services = of_services.unwrap_or_default();
    let trials = vec![
        trial("the_rust_crate_verifies_postbacks_signatures", [], the_rust_crate_verifies_postbacks_signatures),
        trial("postback_verifies_the_rust_crates_signatures", [], postback_verifies_the_rust_crates_signatures),
        trial("ed25519_is_verified_both_ways", [], ed25519_is_verified_both_ways),
        trial("the_python_packages_verify_postbacks_signatures", [missing], move || {
            the_python_packages_verify_postbacks_signatures(&folder)
        }),
    ];
    let trials_of_forms = [
        trial("each_form_has_its_members_and_its_content_type", [], || {
            formats::each_form_has_its_members_and_its_content_type()
        }),
        trial("the_signature_of_fal_is_verified", [], formats::the_signature_of_fal_is_verified),
        trial("packages_of_the_services_read_their_forms", [missing_of_services], move || {
            formats::packages_of_the_services_read_their_forms(&services)
        }),
    ];
    let trials = trials.into_iter().chain(trials_of_forms).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The two secrets of a sender that is replacing one of them by the other.
struct Secrets {
    shared: Secret,
    pair: Secret,
}

impl Secrets {
    fn new() -> Self {
        Self { shared: Secret::generate(), pair: Secret::generate_ed25519() }
    }

    fn public(&self) -> PublicKey {
        self.pair.public_key().expect("a key pair")
    }
}

/// Delivers some reports signed with both secrets, and returns the webhooks that arrived.
fn delivered(secrets: &Secrets) -> Vec<Received> {
    let receiver = Receiver::start();
    let url = receiver.url("/in");
    let poster = Poster::builder().trust(&url).secret(secrets.shared.clone()).secret(secrets.pair.clone());
    let (poster, _guard) = poster.start().expect("a poster");
    let reports = [
        Report::completed("a", &json!({"text": "grün \u{1f980} \"quoted\"\n", "n": 0.1})).expect("a report"),
        Report::completed("b", &"x".repeat(100_000)).expect("a report"),
        Report::failed("c").error("it\u{2028}broke"),
    ];
    for report in &reports {
        poster.post(url.as_str(), report).expect("room");
    }
    receiver.wait(reports.len())
}

/// The signature of this version in the header `webhook-signature`.
fn signature<'a>(webhook: &'a Received, version: &str) -> &'a str {
    let entries = webhook.header("webhook-signature").split(' ');
    let mut of_version = entries.filter_map(|entry| entry.split_once(',')).filter(|(v, _)| *v == version);
    of_version.next().expect("a signature of that version").1
}

fn content(webhook: &Received) -> Vec<u8> {
    let head = format!("{}.{}.", webhook.header("webhook-id"), webhook.header("webhook-timestamp"));
    [head.as_bytes(), &webhook.body].concat()
}

fn headers(signature: &str, timestamp: i64) -> HeaderMap {
    let pairs =
        [("webhook-id", "msg_1"), ("webhook-timestamp", &timestamp.to_string()), ("webhook-signature", signature)];
    let pair = |(name, value): (&'static str, &str)| {
        (HeaderName::from_static(name), HeaderValue::try_from(value).expect("a header"))
    };
    pairs.into_iter().map(pair).collect()
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_secs()).expect("a time of today")
}

fn the_rust_crate_verifies_postbacks_signatures() {
    let secrets = Secrets::new();
    let theirs = Webhook::new(&secrets.shared.reveal()).expect("a secret");
    for webhook in delivered(&secrets) {
        theirs.verify(&webhook.body, &webhook.headers).expect("a webhook that the other implementation accepts");
        let changed = [&webhook.body, &b" "[..]].concat();
        theirs.verify(&changed, &webhook.headers).expect_err("a changed body must be refused");
    }
}

fn postback_verifies_the_rust_crates_signatures() {
    let secret = Secret::generate();
    let theirs = Webhook::new(&secret.reveal()).expect("a secret");
    let body = br#"{"type":"request.completed"}"#;
    let headers = headers(&theirs.sign("msg_1", now(), body).expect("a signature"), now());
    let webhook = verify(std::slice::from_ref(&secret), &headers, body).expect("a webhook that Postback accepts");
    assert_eq!((webhook.id(), *webhook), ("msg_1", &body[..]));
    assert_eq!(verify(&[secret], &headers, b"{}"), Err(VerifyError::Mismatch));
}

fn ed25519_is_verified_both_ways() {
    let secrets = Secrets::new();
    let decoded = STANDARD.decode(&secrets.public().to_string()["whpk_".len()..]).expect("base64");
    let theirs = Dalek::from_bytes(decoded[..].try_into().expect("32 bytes")).expect("a public key");
    for webhook in delivered(&secrets) {
        let ours = STANDARD.decode(signature(&webhook, "v1a")).expect("base64");
        let ours = Signature::from_slice(&ours).expect("a signature");
        theirs.verify_strict(&content(&webhook), &ours).expect("a webhook that the other implementation accepts");
        theirs
            .verify_strict(&[&content(&webhook), &b" "[..]].concat(), &ours)
            .expect_err("a changed body must be refused");
    }

    let revealed = STANDARD.decode(&secrets.pair.reveal()["whsk_".len()..]).expect("base64");
    let theirs = SigningKey::from_keypair_bytes(revealed[..].try_into().expect("64 bytes")).expect("a key pair");
    let timestamp = now();
    let signed = theirs.sign(format!("msg_1.{timestamp}.{{}}").as_bytes());
    let headers = headers(&format!("v1a,{}", STANDARD.encode(signed.to_bytes())), timestamp);
    let keys = [VerifyingKey::from(secrets.public())];
    verify(&keys, &headers, b"{}").expect("a webhook that Postback accepts");
    assert_eq!(verify(&keys, &headers, b"[]"), Err(VerifyError::Mismatch));
}

fn the_python_packages_verify_postbacks_signatures(folder: &std::path::Path) {
    let secrets = Secrets::new();
    let webhooks = delivered(&secrets);
    let as_json = |webhook: &Received| {
        let name = |name: &str| (name.to_owned(), json!(webhook.header(name)));
        let headers: serde_json::Map<_, _> =
            ["webhook-id", "webhook-timestamp", "webhook-signature"].map(name).into_iter().collect();
        json!({"headers": headers, "body": STANDARD.encode(&webhook.body)})
    };
    let input = json!({
        "secret": secrets.shared.reveal(),
        "public": secrets.public().to_string(),
        "webhooks": webhooks.iter().map(as_json).collect::<Vec<_>>(),
    });
    let output = python::run(folder, include_str!("verify.py"), &input.to_string());
    assert_eq!(output.trim(), format!("{} verified", webhooks.len()));
}
