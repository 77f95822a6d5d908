//! The smallest workload server: it makes a greeting, which may take a while, and reports the greeting by webhook.
//!
//! Run the server:
//!
//! ```sh
//! cargo run --example quickstart -- serve --inspect
//! ```
//!
//! Then run the command that the server prints. The answer is a request id. The outcome appears in the terminal of the
//! server, because `--inspect` starts a receiver there.

use std::time::Duration;

use postback::{App, Config, Payload, RequestId, async_handler};
use serde::{Deserialize, Serialize};

/// The settings of this program: the table `[config]` in postback.toml.
#[derive(Deserialize)]
struct Settings {
    webhook_url: String,
}

#[derive(Deserialize)]
struct Person {
    name: String,
    /// How long the work takes, in milliseconds.
    #[serde(default)]
    work_ms: u64,
    /// Whether the work fails.
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
