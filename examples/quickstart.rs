//! The pattern in its smallest form: a greeting that may take a while, reported by webhook.
//!
//! Run with:
//!
//! ```sh
//! cargo run --example quickstart -- serve --inspect
//! ```
//!
//! and paste the command that it prints. The answer is an id; the outcome appears where the server runs, because
//! `--inspect` starts a receiver there.

use std::time::Duration;

use postback::{App, Config, Payload, RequestId, async_handler};
use serde::{Deserialize, Serialize};

/// The table `[config]` of postback.toml.
#[derive(Deserialize)]
struct Settings {
    webhook_url: String,
}

#[derive(Deserialize)]
struct Person {
    name: String,
    /// How long the work takes.
    #[serde(default)]
    work_ms: u64,
    /// Whether it goes wrong.
    #[serde(default)]
    fail: bool,
}

#[derive(Serialize)]
struct Greeting {
    data: String,
}

#[derive(Debug, thiserror::Error)]
#[error("{name} cannot be greeted today")]
struct GreetError {
    name: String,
}

#[async_handler(webhook = config.webhook_url)]
async fn greet(
    config: Config<Settings>,
    payload: Payload<Person>,
    request_id: RequestId,
) -> Result<Greeting, GreetError> {
    let Person { name, work_ms, fail } = payload.into_inner();
    tokio::time::sleep(Duration::from_millis(work_ms)).await;
    if fail {
        return Err(GreetError { name });
    }
    Ok(Greeting { data: format!("hello {name}") })
}

#[postback::main]
async fn app(settings: Settings) -> App<Settings> {
    App::new(settings).route("/greet", greet).example(r#"{"name":"Ada"}"#)
}
