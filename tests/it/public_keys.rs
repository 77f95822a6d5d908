//! The public keys as a JWKS, and a receiver that verifies reports of the form `fal` with it, as fal's own verifiers do.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signature, VerifyingKey};
use postback::Secret;
use postback_tests::{Received, Receiver, eventually_async};
use reqwest::Response;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::commands::said;
use crate::support::{SECRET, Server};

const PATH: &str = "/.well-known/jwks.json";

async fn get(server: &Server) -> Response {
    server.client.get(server.path(PATH)).send().await.unwrap()
}

/// The keys in the order of the document.
async fn keys(server: &Server) -> Vec<Value> {
    let document: Value = get(server).await.json().await.unwrap();
    assert_eq!(document.as_object().unwrap().len(), 1, "{document}");
    document["keys"].as_array().unwrap().clone()
}

/// What fal's published verifier does: it tries each key of the document.
fn verifies(keys: &[Value], report: &Received) -> bool {
    let part = |name: &str| report.header(&format!("x-fal-webhook-{name}"));
    let digest = Sha256::digest(&report.body);
    let body = digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let text = [part("request-id"), part("user-id"), part("timestamp"), &body].join("\n");
    let hex = part("signature");
    let bytes = (0..64).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect::<Vec<_>>();
    let signature = Signature::from_slice(&bytes).unwrap();
    keys.iter().any(|key| {
        assert_eq!((&key["kty"], &key["crv"], &key["use"]), (&json!("OKP"), &json!("Ed25519"), &json!("sig")));
        let x = URL_SAFE_NO_PAD.decode(key["x"].as_str().unwrap()).unwrap();
        let key = VerifyingKey::from_bytes(&x.try_into().unwrap()).unwrap();
        key.verify_strict(text.as_bytes(), &signature).is_ok()
    })
}

fn settings(receiver: &Receiver, secrets: &[&Secret], of_endpoint: &Secret) -> String {
    let secrets: Vec<_> = secrets.iter().map(|secret| secret.reveal()).chain([SECRET.to_owned()]).collect();
    format!(
        "[config]\nwebhook_url = {:?}\n[delivery]\nformat = \"fal\"\nsecrets = {secrets:?}\n\
         [[delivery.endpoint]]\nurl = {:?}\nsecrets = [{:?}, {:?}]\n",
        receiver.url("/in"),
        receiver.url("/other"),
        of_endpoint.reveal(),
        secrets[0],
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verifier_of_fals_webhooks_accepts_a_report_with_the_keys_of_the_server() {
    let receiver = Receiver::start();
    let [old, new, other] = [(); 3].map(|()| Secret::generate_ed25519());
    let server = Server::start(&settings(&receiver, &[&old], &other));
    let before = keys(&server).await;
    assert_eq!(before.len(), 2, "the key that signs by default, and that of the endpoint; no shared secret");
    let id = server.submit("/echo", json!("x")).await;
    let report = receiver.wait(1).remove(0);
    assert_eq!(report.json()["request_id"], json!(id));
    assert!(verifies(&before[..1], &report) && !verifies(&before[1..], &report));

    // A new key is there as soon as the settings are read again, and signs when it is the first.
    let file = server.folder.path().join("postback.toml");
    std::fs::write(&file, settings(&receiver, &[&new, &old], &other)).unwrap();
    server.process.hang_up();
    let after = eventually_async("the new key", async || {
        let keys = keys(&server).await;
        if keys.len() == 3 { Ok(keys) } else { Err(keys) }
    })
    .await;
    assert_eq!(after[1..], before, "the order is that of the settings, and each key is there once");
    server.submit("/echo", json!("y")).await;
    let report = receiver.wait(2).remove(1);
    assert!(verifies(&after[..1], &report) && !verifies(&before, &report));
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_may_read_the_keys_and_nothing_else_is_in_the_answer() {
    let secret = Secret::generate_ed25519();
    let tokens = "[server]\nadmin_token = \"an-admin-token-of-some-length\"\n";
    let server = Server::start(&format!("{tokens}[delivery]\nsecrets = [{:?}]\n", secret.reveal()));
    // A token of a caller: from now on, all other calls need one.
    let made = said(server.folder.path(), &["tokens", "new", "caller"]);
    assert!(made.contains("pbk_"), "{made}");
    assert_eq!(server.client.get(server.path("/echo")).send().await.unwrap().status(), 401);
    let named = server.client.get(server.path(PATH)).header("host", "postback.internal.example").send().await.unwrap();
    assert_eq!(named.status(), 200);
    let answer = get(&server).await;
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("content-type"), "application/jwk-set+json");
    assert_eq!(header("cache-control"), "public, max-age=3600");
    let etag = header("etag");
    let text = answer.text().await.unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    let members: Vec<_> = document["keys"][0].as_object().unwrap().keys().cloned().collect();
    let mut sorted = members.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, ["crv", "kid", "kty", "use", "x"], "no private part");
    let known = server.client.get(server.path(PATH)).header("if-none-match", etag).send().await.unwrap();
    assert_eq!((known.status().as_u16(), known.text().await.unwrap()), (304, String::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_signs_with_shared_secrets_or_not_at_all_has_an_empty_list() {
    for settings in ["", &format!("delivery.secrets = [{SECRET:?}]\n")] {
        let server = Server::start(settings);
        assert!(keys(&server).await.is_empty());
    }
}
