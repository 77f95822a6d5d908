//! Long work that goes on where it was: the handler tells its progress, and saves a checkpoint after each step.
//!
//! Run the server, and then the command that it prints:
//!
//! ```sh
//! cargo run --example resume -- serve --inspect
//! ```
//!
//! Kill the server while it works, with `kill -9` or Ctrl-C, and start it again. The request goes on with the step after
//! the last checkpoint. A step that fails is tried again, and a request that cannot succeed is not.

use std::time::Duration;

use postback::{
    App, Checkpoint, Config, HandlerError, IntoHandlerError as _, Payload, Progress, RequestId, async_handler,
};
use serde::{Deserialize, Serialize};

/// The settings of this program: the table `[config]` in postback.toml.
#[derive(Deserialize)]
struct Settings {
    webhook_url: String,
}

#[derive(Deserialize)]
struct Import {
    /// The number of steps.
    steps: u32,
    /// How long each step takes, in milliseconds.
    #[serde(default)]
    step_ms: u64,
}

/// What an import leaves for its next run.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Done {
    steps: u32,
    /// The number of runs that have worked on it.
    runs: u32,
}

#[async_handler(webhook = config.webhook_url, error = display)]
async fn import(
    config: Config<Settings>,
    payload: Payload<Import>,
    mut checkpoint: Checkpoint<Done>,
    progress: Progress,
    request_id: RequestId,
) -> Result<Done, HandlerError> {
    if payload.steps == 0 {
        return Err("there is nothing to import".permanent());
    }
    let mut done = checkpoint.take().unwrap_or_default();
    done.runs += 1;
    while done.steps < payload.steps {
        // A real import reads a part of a file here, and writes it to a database.
        tokio::time::sleep(Duration::from_millis(payload.step_ms)).await;
        done.steps += 1;
        checkpoint.save(&done).await?;
        let Done { steps, .. } = done;
        progress.report(f64::from(steps) / f64::from(payload.steps), format!("{steps} of {} steps", payload.steps));
    }
    Ok(done)
}

#[postback::main]
async fn app(settings: Settings) -> App<Settings> {
    App::new(settings).route("/import", import).max_attempts(3).example(r#"{"steps":60,"step_ms":500}"#)
}
