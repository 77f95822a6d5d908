//! Tests panics in the function body and in other code of the user that the attribute calls.

use std::fmt::{self, Display};
use std::time::Duration;

use postback::async_handler;
use serde::{Serialize, Serializer};
use serde_json::json;

use crate::support::{Config, failed, named, reported, url};

struct Panics;

impl Display for Panics {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("while displaying")
    }
}

impl Serialize for Panics {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        panic!("while serialising")
    }
}

fn panics() -> String {
    panic!("in an expression")
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what the attribute asks for")]
fn shows(_: &u8) -> u8 {
    panic!("while showing")
}

#[async_handler(webhook = config.webhook_url)]
async fn body(config: &Config, request_id: &str) -> Result<(), ()> {
    tokio::task::yield_now().await;
    panic!("{request_id} panicked")
}

#[tokio::test]
async fn a_panic_of_the_body_is_reported_and_goes_on() {
    let config = Config::new();
    let call = tokio::spawn(async move { body(&config, "panicked").await });
    let payload = call.await.unwrap_err().into_panic();
    assert_eq!(payload.downcast_ref::<String>().unwrap(), "panicked panicked");
    failed("panicked");
}

#[async_handler(webhook = panics(), request_id = named("p-webhook"))]
async fn webhook(owned: String) -> Result<String, ()> {
    Ok(owned)
}

#[async_handler(webhook = url(), request_id = panics())]
async fn id(owned: String) -> Result<String, ()> {
    Ok(owned)
}

#[async_handler(webhook = url(), request_id = Panics)]
async fn shown_id(owned: String) -> Result<String, ()> {
    Ok(owned)
}

#[async_handler(webhook = url(), request_id = named("p-result"))]
async fn result() -> Result<Panics, ()> {
    Ok(Panics)
}

#[async_handler(webhook = url(), request_id = named("p-shown"), result = shows)]
async fn shown() -> Result<u8, ()> {
    Ok(4)
}

#[async_handler(webhook = url(), request_id = named("p-error"), error = display)]
async fn error() -> Result<(), Panics> {
    Err(Panics)
}

#[async_handler(webhook = url(), request_id = named("p-error-shown"), error = shows)]
async fn error_shown() -> Result<(), u8> {
    Err(5)
}

#[tokio::test]
async fn a_panic_in_what_is_told_never_reaches_the_caller() {
    let before = postback::flush(Duration::from_mins(1)).await.lost;
    assert_eq!(webhook("kept".to_owned()).await.unwrap(), "kept");
    assert_eq!(id("kept".to_owned()).await.unwrap(), "kept");
    assert_eq!(shown_id("kept".to_owned()).await.unwrap(), "kept");
    assert!(result().await.is_ok());
    assert_eq!(shown().await, Ok(4));
    assert!(error().await.is_err());
    assert_eq!(error_shown().await, Err(5));
    // The reports of the failed calls arrive without the error, because showing the error panicked.
    for id in ["p-error", "p-error-shown"] {
        assert_eq!(reported(id), json!({"id": id, "status": "failed", "reason": "error"}));
    }
    let after = postback::flush(Duration::from_mins(1)).await.lost;
    assert_eq!(after - before, 5);
}
