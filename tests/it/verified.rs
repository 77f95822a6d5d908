//! Receivers that use the extractor `Verified`, over real sockets.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use http::StatusCode;
use postback::{Secret, Verified, VerifyingKey, VerifyingKeys};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::{SECRET, Server};

#[derive(Deserialize)]
struct Report {
    id: String,
    result: Value,
}

type Got = (String, String, Value);

#[derive(Clone)]
struct App {
    keys: VerifyingKeys,
    got: SyncSender<Got>,
}

impl axum::extract::FromRef<App> for VerifyingKeys {
    fn from_ref(app: &App) -> Self {
        app.keys.clone()
    }
}

async fn receive(State(app): State<App>, report: Verified<Report>) -> StatusCode {
    let webhook = report.id().to_owned();
    let Report { id, result } = report.into_inner();
    app.got.send((webhook, id, result)).unwrap();
    StatusCode::NO_CONTENT
}

/// Starts a receiver with these keys. Returns its URL and the webhooks that its handler gets.
async fn receiver(keys: VerifyingKeys) -> (String, Receiver<Got>) {
    let (got, all) = sync_channel(64);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hooks", listener.local_addr().unwrap());
    let router = Router::new().route("/hooks", post(receive)).with_state(App { keys, got });
    tokio::spawn(async { axum::serve(listener, router).await });
    (url, all)
}

fn settings(url: &str, secrets: &[&str]) -> String {
    format!("[config]\nwebhook_url = {url:?}\n[delivery]\nsecrets = {secrets:?}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_verifies_what_a_server_signed() {
    let pair = Secret::generate_ed25519();
    let text = pair.reveal();
    let secrets = [SECRET, text.as_str()];
    // The first receiver has the shared secret. The second has the public key of the key pair.
    let keys: [VerifyingKey; 2] = [SECRET.parse().unwrap(), pair.public_key().unwrap().into()];
    for key in keys {
        let (url, got) = receiver(VerifyingKeys::from(key)).await;
        let server = Server::start(&settings(&url, &secrets));
        let id = server.submit("/echo", json!({"n": 1})).await;
        let delivery = server.delivery("/echo", &id, |delivery| delivery["state"] == "delivered").await;
        assert_eq!(delivery["webhooks"][0]["attempts"], 1, "{delivery}");
        let (webhook, subject, result) = got.try_recv().unwrap();
        assert_eq!((subject, result), (id.clone(), json!({"n": 1})));
        assert!(!webhook.is_empty() && webhook != id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_signed_with_another_secret_is_answered_401_and_reaches_no_handler() {
    let (url, got) = receiver(VerifyingKeys::from(Secret::generate())).await;
    let server = Server::start(&settings(&url, &[SECRET]));
    let id = server.submit("/echo", json!(1)).await;
    let delivery = server.delivery("/echo", &id, |delivery| delivery["state"] == "retrying").await;
    assert_eq!(delivery["webhooks"][0]["last_status"], 401, "{delivery}");
    assert!(got.try_recv().is_err());
}
