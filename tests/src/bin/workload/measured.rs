//! Handlers for the load program, which measures how callers with a receiver each and idle nodes fare.

use std::time::{SystemTime, UNIX_EPOCH};

use postback::{App, Headers, Payload, RequestId, async_handler};
use serde::Serialize;
use serde_json::Value;

use super::Settings;

pub(crate) fn routes(app: App<Settings>) -> App<Settings> {
    app.route("/echo_to", echo_to).route("/began", began)
}

/// Returns what it gets, as `/echo` does, and reports to the URL in a request header.
#[async_handler(webhook = headers.text("x-hook"))]
async fn echo_to(headers: Headers, payload: Payload<Value>, request_id: RequestId) -> Result<Value, String> {
    Ok(payload.into_inner())
}

/// The beginning of a run.
#[derive(Serialize)]
struct Began {
    /// In microseconds since 1970.
    at: u64,
    process: u32,
}

/// Returns when and where its run began.
async fn began() -> Result<Began, String> {
    let at = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|error| error.to_string())?;
    Ok(Began { at: u64::try_from(at.as_micros()).map_err(|error| error.to_string())?, process: std::process::id() })
}
