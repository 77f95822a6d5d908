//! Async workloads that report by webhook.
//!
//! You post a payload to a workload server and get an id at once. Your async function does the work, and your receiver
//! gets the outcome as a webhook. You add one attribute to your `async fn`; the runtime does queueing, retries and
//! crash recovery. HTTP API, queue, store and deliveries are one program with one database file.
//!
//! # A workload server
//!
//! ```no_run
//! use postback::{App, Config, Payload, RequestId, async_handler};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Deserialize)]
//! struct Settings {
//!     webhook_url: String,
//! }
//!
//! #[derive(Deserialize)]
//! struct Name {
//!     name: String,
//! }
//!
//! #[derive(Serialize)]
//! struct Greeting {
//!     data: String,
//! }
//!
//! #[async_handler(webhook = config.webhook_url)]
//! async fn greet(
//!     config: Config<Settings>,
//!     payload: Payload<Name>,
//!     request_id: RequestId,
//! ) -> Result<Greeting, std::io::Error> {
//!     Ok(Greeting { data: format!("hello {}", payload.name) })
//! }
//!
//! #[postback::main]
//! async fn app(settings: Settings) -> App<Settings> {
//!     App::new(settings).route("/greet", greet)
//! }
//! ```
//!
//! This is the whole program. `cargo run -- serve --inspect` starts it, with a receiver that prints the webhooks:
//!
//! 1. `POST /greet` answers `{"id":"…"}`. From this answer on the request is kept, whatever happens to the process.
//! 2. The handler runs, on threads of its own.
//! 3. The outcome and its report are stored in one commit. The report is
//!    `{"id","status":"completed","result","timestamp"}`, or `{"id","status":"failed"}`.
//! 4. The report is delivered to `config.webhook_url`. Attempts go on until the receiver answers 2xx or the schedule is
//!    over.
//!
//! You can also poll: `GET /greet/{id}` returns the bytes of the report and a line break.
//!
//! Where to read on:
//!
//! - [`main`](macro@main): the program and its command line,
//! - [`async_handler`]: the attribute,
//! - [`App`]: routes and state,
//! - [`Handler`]: what a handler is, and which parameters it may have,
//! - [`guide::receiver`]: how a receiver verifies webhooks, answers them and recognises repeats.
//!
//! # In an existing program
//!
//! If it has an axum service, [`App::into_router`] adds the whole workload server to it. The guide `embedding` shows how.
//!
//! You can also call a function with the attribute as any other function. Its reports go out in the background, through the
//! [`Poster`] of the process:
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use postback::{Poster, async_handler};
//!
//! #[async_handler(webhook = hook, error = display)]
//! async fn render(hook: &str, scene: String, request_id: u64) -> Result<usize, std::fmt::Error> {
//!     Ok(scene.len())
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let hook = "https://hooks.example.com/rendered";
//!     let guard = Poster::builder().trust(hook).install()?;
//!     let pixels = render(hook, "a cube".to_owned(), 7).await?;
//!     println!("{pixels}");
//!     guard.shutdown(Duration::from_secs(5)).await;
//!     Ok(())
//! }
//! ```
//!
//! # What is promised
//!
//! 1. **Accepted work is kept.** A request is kept from its answer on. An outcome and its reports are kept from their
//!    commit on, which is one transaction. Both survive the death of the process and, with `store.durability = "full"`,
//!    of the machine. A report that is made outside a worker is on disk with the next group commit, milliseconds later.
//!    With `durable = true` it is on disk before the call returns. If the store is in memory, nothing survives the
//!    process, and the reports that are lost are counted.
//! 2. **Reports arrive at least once, and repeats can be recognised.** Attempts go on until the receiver takes the
//!    report, so a report may arrive more than once. Repeats have the same header `webhook-id`. The attempts end when
//!    the schedule is over, after three days by default, or when the receiver says by 410 that it does not want the
//!    report.
//! 3. **The handler never waits for the network, and the network never waits for the handler.** Handlers have their own
//!    threads.
//! 4. **A webhook reaches only allowed addresses.** A URL that the operator did not name reaches public addresses only.
//!    The address is checked when the connection is opened. Redirects are not followed.
//! 5. **Everything is bounded.** Memory, queues, connections and the part of an answer that is read each have a limit.
//! 6. **No secret is shown.** Logs and errors contain no secret, and show a webhook URL without its query.
//!
//! It is not promised that a report arrives only once, or that reports of different requests arrive in order. A report
//! to an address that is not allowed does not arrive at all.
//!
//! The guide [`guide::operator`] says more about the promises and the limits, and which setting to change when. The
//! guide `handlers` (feature `testing`) is for those who write handlers and test them.
//!
//! If a program keeps rows of its own in the database of the store, a transaction can commit them together with a report or a
//! request: see the guide `transactions`.
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `server` | yes | the workload server: [`main`](macro@main), [`App`], HTTP API, worker, settings, command line; the axum extractor `Verified<T>` |
//! | `sqlite` | yes | the durable store, in one SQLite file |
//! | `postgres` | no | the durable store in a PostgreSQL database: `store.url = "postgres://…"` |
//! | `cron` | no | `App::cron`: handlers that run on a schedule |
//! | `forward` | no | `App::forward` and `[[forward]]`: routes that another HTTP server answers, such as a container |
//! | `multipart` | no | `Payload<Multipart>`: handlers that take files, as browsers and `curl -F` send them |
//! | `schemars` | no | `App::schema`, which puts the JSON Schemas of payload and result into `/openapi.json` |
//! | `otlp` | no | the server sends its traces to a collector: `telemetry.otlp_endpoint = "http://…"` |
//! | `terminal` | no | the command `top` as a live view in the terminal, and progress bars of long commands |
//! | `testing` | no | `testing::record`, which catches the reports of a test, and `testing::TestApp`, which runs an app inside a test, with a receiver of its reports |
//!
//! With `default-features = false` you get the attribute, an in-memory poster, and [`verify`](verify()) and [`sign`]
//! for receivers, with neither HTTP server nor SQL in your build. Add `features = ["sqlite"]` for the durable store.
//!
//! A program can link one `libsqlite3-sys` only. If you use the feature `sqlite` together with rusqlite, use rusqlite
//! 0.39 or older: newer versions do not resolve beside this crate.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    test,
    expect(
        unused_assignments,
        clippy::used_underscore_binding,
        reason = "the macro `__capture_whole` makes such code; other crates do not get these warnings"
    )
)]
// Some code is used by only one feature. If this feature is off, the compiler must not warn that the code is unused.
// Code that no feature uses is still found, because the compiler warns about unused code if all features are on.
#![cfg_attr(
    not(all(feature = "server", feature = "sqlite")),
    allow(dead_code, reason = "only settings parse a schedule, and only SQLite has a durability")
)]

// The attributes generate paths that begin with `::postback`. This line makes such paths valid in the tests of this
// crate.
#[cfg(test)]
extern crate self as postback;

// The modules, listed by layer. The highest layer comes first. A module uses only modules of lower layers.
// `ARCHITECTURE.md` shows the layers.
#[cfg(feature = "server")]
mod entry;
#[cfg(feature = "testing")]
pub mod testing;

#[cfg(feature = "server")]
mod cli;

#[cfg(feature = "server")]
mod app;

#[cfg(feature = "server")]
mod settings;

#[cfg(feature = "server")]
mod admin;
#[cfg(feature = "server")]
mod api;
#[cfg(feature = "server")]
mod inspector;

#[cfg(feature = "server")]
mod cancel;
#[cfg(feature = "server")]
mod dashboard;
#[cfg(feature = "server")]
mod openapi;
#[cfg(feature = "server")]
mod pages;

#[cfg(feature = "server")]
mod access;
#[cfg(feature = "cron")]
mod cron;
#[cfg(feature = "forward")]
mod forward;
#[cfg(feature = "server")]
mod problem;
#[cfg(feature = "server")]
mod telemetry;
#[cfg(feature = "server")]
mod worker;

#[cfg(feature = "server")]
mod handler;
mod outcome;

mod poster;
#[cfg(feature = "server")]
mod results;

mod delivery;

mod policy;

#[cfg(fuzzing)]
#[doc(hidden)]
pub mod __fuzz;
#[doc(hidden)]
pub mod __private;
mod background;
mod panics;
mod spans;

/// Guides, one for each kind of reader: operators, those who watch a server or use its commands, callers of the API and its errors, receivers, authors of handlers,
/// those who put a server before a container or into a program of their own, and those who try out their set-up.
pub mod guide {
    // The guide `handlers` has links to items that exist only if these features are on.
    #[cfg(all(feature = "server", feature = "testing"))]
    #[doc = include_str!("../docs/guide/handlers.md")]
    pub mod handlers {}

    // Its example has a type that exists only if this feature is on.
    #[cfg(feature = "forward")]
    #[doc = include_str!("../docs/guide/containers.md")]
    pub mod containers {}

    #[cfg(feature = "server")]
    #[doc = include_str!("../docs/guide/embedding.md")]
    pub mod embedding {}

    // Its examples have a SQLite file and handlers.
    #[cfg(all(feature = "server", feature = "sqlite", feature = "postgres"))]
    #[doc = include_str!("../docs/guide/transactions.md")]
    pub mod transactions {}

    #[doc = include_str!("../docs/guide/operator.md")]
    pub mod operator {}

    #[doc = include_str!("../docs/guide/commands.md")]
    pub mod commands {}

    #[doc = include_str!("../docs/guide/watching.md")]
    pub mod watching {}

    #[doc = include_str!("../docs/guide/traces.md")]
    pub mod traces {}

    #[doc = include_str!("../docs/guide/callers.md")]
    pub mod callers {}

    #[doc = include_str!("../docs/guide/api.md")]
    pub mod api {}

    #[doc = include_str!("../docs/guide/problems.md")]
    pub mod problems {}

    #[doc = include_str!("../docs/guide/receiver.md")]
    pub mod receiver {}

    #[doc = include_str!("../docs/guide/inspector.md")]
    pub mod inspector {}
}

#[cfg(feature = "server")]
pub use app::{App, IntoApp};
/// The crate whose `Router` [`App::into_router`] returns, in the version that this crate uses: axum 0.8.
#[cfg(feature = "server")]
pub use axum;
/// The type of a payload that a handler receives as raw bytes. The type comes from the crate `bytes`.
#[cfg(feature = "server")]
pub use bytes::Bytes;
#[cfg(feature = "cron")]
pub use cron::Tick;
#[cfg(feature = "server")]
pub use entry::{Embedded, IntoRouter, Program, RouterError, run};
#[cfg(feature = "forward")]
pub use forward::Target;
/// What an extractor of your own is made of. [`Extract`] has an example.
#[cfg(feature = "server")]
pub mod extract {
    pub use crate::handler::{Extract, Parameter, Run, Shared};
}

#[cfg(feature = "server")]
pub use handler::{
    Attempt, Batch, BatchHandler, BatchItem, CancelReason, Cancellation, Checkpoint, CheckpointError, Config, Deadline,
    Extract, Form, Handler, HandlerError, Headers, IntoHandlerError, Metadata, Payload, Progress, Query, Reply, State,
    Trace,
};
#[cfg(feature = "multipart")]
pub use handler::{Multipart, Part};
pub use outcome::{Fallible, ReportOutcome, report_outcome};
#[cfg(feature = "cron")]
pub use policy::cron::Missed;
#[doc = include_str!("../docs/async_handler.md")]
pub use postback_macros::async_handler;
#[cfg(feature = "server")]
#[doc = include_str!("../docs/debug_handler.md")]
pub use postback_macros::debug_handler;
#[cfg(feature = "server")]
#[doc = include_str!("../docs/main.md")]
pub use postback_macros::main;
#[cfg(feature = "sqlite")]
#[doc(inline)]
pub use postback_store::Durability;
#[doc(inline)]
pub use postback_wire::{
    Chosen, EndReason, Ends, Format, IntoWebhook, PublicKey, ReceivedProgress, ReceivedReport, Report, ReportError,
    RequestId, RequestIdError, Secret, SecretError, SignError, Status, StoredResult, UnknownFormat, Verified, Verifies,
    VerifyError, VerifyingKey, Webhook, WebhookError, Webhooks, sign, verify,
};
#[cfg(feature = "server")]
#[doc(inline)]
pub use postback_wire::{VerifiedRejection, VerifyingKeys};
pub use poster::{Flushed, PostError, Poster, PosterBuilder, PosterGuard, StartError, blocking, flush, poster};
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use poster::{HandIn, HandInRow, PrepareError};

/// An item whose documentation is the README, so that the README's code is tested with the other doc tests.
#[cfg(all(doctest, feature = "server", feature = "sqlite"))]
#[doc = include_str!("../../README.md")]
struct Readme;
