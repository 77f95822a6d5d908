//! Async workloads that report by webhook.
//!
//! A long piece of work outlives an HTTP call. The caller posts a payload, gets an id at once, and is *told* the outcome
//! by a webhook. This crate makes that one attribute, and a runtime that can be trusted with it: the outcome and its
//! report are one transaction, delivered with retries, signed, across crashes.
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
//! That is the whole program. `cargo run -- serve --inspect` starts it, with a receiver that prints the webhooks:
//!
//! - `POST /greet` answers `{"id":"…"}`, and from then on the request is kept, whatever happens to the process;
//! - the handler runs, on threads of its own;
//! - its outcome is stored together with its report, in one commit: `{"id","status":"completed","result","timestamp"}`,
//!   or `{"id","status":"failed"}`;
//! - the report is delivered to `config.webhook_url`, again and again until the receiver says 2xx or the schedule is over;
//! - `GET /greet/{id}` says the same as the report, to the byte (and ends the line).
//!
//! See [`main`](macro@main) for the program, [`async_handler`] for the attribute, [`App`] for routes and state, [`Handler`] for what
//! a handler is and may ask for, [`guide::receiver`] for the other side: verifying, answering, telling repeats.
//!
//! # In an existing program
//!
//! An annotated function can be called by anybody. The reports go out behind it, through the [`Poster`] of the process:
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
//! 1. **Accepted is kept.** From its answer on a request, from its commit on an outcome with its reports, survive the death
//!    of the process and, with `store.durability = "full"`, of the machine. A report made outside a worker is on disk with
//!    the next group commit, milliseconds later, or before the call returns with `durable = true`. In memory nothing
//!    survives the process, and what is dropped is counted.
//! 2. **At least once, and recognisable.** A report is tried until its receiver takes it, and may so arrive more than once;
//!    the header `webhook-id` tells repeats. It is given up when the schedule is over, after three days by default, or when
//!    the receiver says that it does not want it (410).
//! 3. **The handler never waits for the network,** and the network never waits for a handler.
//! 4. **A webhook reaches only where it may.** A URL that the operator did not name goes to public addresses only, checked
//!    when they are dialled; redirects are not followed.
//! 5. **Bounded.** Memory, queues, connections and what is read of an answer each have a limit.
//! 6. **Nothing secret is shown,** neither in logs nor in errors; a webhook URL is shown without its query.
//!
//! [`guide::operator`] tells more of it, and how to tune it. The guide `handlers` (feature `testing`) is for those who write
//! handlers and test them.
//!
//! Not promised: that a report arrives once only, that reports of different requests arrive in order, or that one arrives
//! at an address where it may not go.
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `server` | yes | the workload server: [`main`](macro@main), [`App`], HTTP API, worker, settings, command line |
//! | `sqlite` | yes | the durable store in one file |
//! | `testing` | no | for tests of programs that report: `testing::record` catches reports |
//!
//! With `default-features = false` remain the attribute and an in-memory poster, with neither axum nor SQL in the tree.
//! A program can link one `libsqlite3-sys`: with the feature `sqlite` on, rusqlite up to 0.39 resolves beside this crate.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    test,
    expect(
        unused_assignments,
        clippy::used_underscore_binding,
        reason = "what `__whole` does, said only in the crate that has the macro"
    )
)]
// Without a feature, pieces of lower layers have no user. With all of them, everything must have one.
#![cfg_attr(
    not(all(feature = "server", feature = "sqlite")),
    allow(
        dead_code,
        reason = "one store and one vocabulary for all: a poster has no requests, and memory does not fail"
    )
)]

// The attributes name the crate so, and are used in its own tests.
#[cfg(test)]
extern crate self as postback;

// In the order of the layers, the highest first: a module uses those below it. `ARCHITECTURE.md` has the picture.
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

#[cfg(all(unix, feature = "server", feature = "sqlite"))]
mod admin;
#[cfg(feature = "server")]
mod api;
#[cfg(feature = "server")]
mod inspector;

#[cfg(feature = "server")]
mod telemetry;
#[cfg(feature = "server")]
mod worker;

#[cfg(feature = "server")]
mod handler;
mod outcome;

mod poster;

mod delivery;

mod store;

mod policy;

mod verify;

mod report;
mod signature;
mod webhook;

mod background;
mod backoff;
mod id;
mod line;
mod names;
mod panics;
mod secret;
mod shutdown;
mod time;

#[cfg(fuzzing)]
#[doc(hidden)]
pub mod __fuzz;
#[doc(hidden)]
pub mod __private;

/// Longer texts, one for each who has to do with webhooks.
pub mod guide {
    // It links to what only these features have.
    #[cfg(all(feature = "server", feature = "testing"))]
    #[doc = include_str!("../docs/guide/handlers.md")]
    pub mod handlers {}

    #[doc = include_str!("../docs/guide/operator.md")]
    pub mod operator {}

    #[doc = include_str!("../docs/guide/callers.md")]
    pub mod callers {}

    #[doc = include_str!("../docs/guide/receiver.md")]
    pub mod receiver {}
}

#[cfg(feature = "server")]
pub use app::{App, IntoApp};
/// The type of a payload that is taken as it came; from the crate `bytes`.
#[cfg(feature = "server")]
pub use bytes::Bytes;
#[cfg(feature = "server")]
pub use entry::{Program, run};
#[cfg(feature = "server")]
pub use handler::{Config, Extract, Handler, Headers, Payload, State};
pub use id::{RequestId, RequestIdError};
pub use outcome::{Fallible, ReportOutcome, report_outcome};
#[doc = include_str!("../docs/async_handler.md")]
pub use postback_macros::async_handler;
#[cfg(feature = "server")]
#[doc = include_str!("../docs/debug_handler.md")]
pub use postback_macros::debug_handler;
#[cfg(feature = "server")]
#[doc = include_str!("../docs/main.md")]
pub use postback_macros::main;
pub use poster::{Flushed, PostError, Poster, PosterBuilder, PosterGuard, StartError, flush};
pub use report::{EndReason, Ends, Report, ReportError, Status};
pub use secret::{PublicKey, Secret, SecretError, Verifies, VerifyingKey};
#[cfg(feature = "sqlite")]
pub use store::Durability;
pub use verify::{ReceivedReport, SignError, Verified, VerifyError, sign, verify};
#[cfg(feature = "server")]
pub use verify::{VerifiedRejection, VerifyingKeys};
pub use webhook::{Chosen, IntoWebhook, Webhook, WebhookError, Webhooks};

/// The README's snippets, run with the other doc tests.
#[cfg(all(doctest, feature = "server", feature = "sqlite"))]
#[doc = include_str!("../../README.md")]
struct Readme;
