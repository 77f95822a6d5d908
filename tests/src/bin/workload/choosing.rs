//! A handler whose error says what follows, one whose route decides, and those that take a form, files or a query.

use std::path::PathBuf;
use std::time::Duration;

use postback::{
    App, Attempt, Config, Form, HandlerError, IntoHandlerError as _, Multipart, Payload, Query, RequestId,
    async_handler,
};
use serde::{Deserialize, Serialize};

use super::{Gate, Settings, Work};

/// Fails in each run but the third. The text says with which kind of error.
pub(crate) async fn by_error(payload: Payload<Work>, attempt: Attempt) -> Result<u32, HandlerError> {
    match (attempt.number(), &*payload.text) {
        (3.., _) => Ok(attempt.number()),
        (_, "permanent") => Err("it never works".permanent()),
        (_, "later") => Err("not now".retry_after(Duration::from_millis(20))),
        (_, text) => Err(HandlerError::new(text)),
    }
}

/// Always fails, with the text of the payload.
pub(crate) async fn by_route(payload: Payload<Work>) -> Result<(), String> {
    Err(payload.into_inner().text)
}

/// The condition of the route: only a text that ends in `again` is worth another run.
#[expect(clippy::ptr_arg, reason = "the condition takes the handler's error, which is a `String`")]
pub(crate) fn is_transient(error: &String) -> bool {
    error.ends_with("again")
}

/// The fields of a form.
#[derive(Deserialize, Serialize)]
pub(crate) struct Choice {
    item: String,
    count: u32,
    #[serde(default)]
    tag: Vec<String>,
}

/// Returns the fields.
pub(crate) async fn by_form(form: Payload<Form<Choice>>) -> Result<Choice, String> {
    Ok(form.into_inner().into_inner())
}

/// What a handler has seen of a file.
#[derive(Serialize)]
pub(crate) struct Seen {
    name: String,
    size: usize,
    path: Option<PathBuf>,
}

/// Reads the files of the form, and returns what it has seen. Panics if the form says so, or never ends.
#[async_handler(webhook = config.webhook_url)]
pub(crate) async fn by_files(
    config: Config<Settings>,
    form: Payload<Multipart>,
    request_id: RequestId,
) -> Result<Vec<Seen>, String> {
    let mut seen = Vec::new();
    for file in form.named("file") {
        let size = file.read().await.map_err(|error| error.to_string())?.len();
        let name = file.file_name().unwrap_or_default().to_owned();
        seen.push(Seen { name, size, path: file.path().map(PathBuf::from) });
    }
    if let Some(into) = form.text("seen") {
        std::fs::write(into, serde_json::to_vec(&seen).unwrap_or_default()).map_err(|error| error.to_string())?;
    }
    assert!(form.text("panics").is_none(), "the form says so");
    if form.text("waits").is_some() {
        std::future::pending::<()>().await;
    }
    Ok(seen)
}

/// The parameters of a query.
#[derive(Deserialize, Serialize)]
pub(crate) struct Options {
    lang: String,
    #[serde(default)]
    tag: Vec<u32>,
}

/// Waits until the gate is open, and returns the parameters.
#[async_handler(webhook = config.webhook_url)]
pub(crate) async fn by_query(
    config: Config<Settings>,
    gate: Payload<Gate>,
    options: Query<Options>,
    request_id: RequestId,
) -> Result<Options, String> {
    gate.opened().await;
    Ok(options.into_inner())
}

/// Adds the routes.
pub(crate) fn routes(app: App<Settings>) -> App<Settings> {
    app.route("/choosing/error", by_error)
        .route("/choosing/route", by_route)
        .retry_if(is_transient)
        .route("/choosing/form", by_form)
        .route("/choosing/query", by_query)
        .route("/choosing/files", by_files)
}
