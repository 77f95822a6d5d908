//! What Postback's reports look like on the wire, and how their receiver verifies them.
//!
//! A receiver in Rust needs this crate alone: [`verify`](verify()) checks a signature, [`sign`] makes one for a test,
//! and [`Verified`] is an extractor for axum (feature `axum`). This crate does no I/O and needs no async runtime. A
//! function reads the clock only if its documentation says so.
//!
//! This crate is a part of [`postback`](https://docs.rs/postback), which re-exports what users need. The hidden
//! items of this crate may change in any version. Only `postback` makes promises about
//! compatibility.

#[doc(hidden)]
pub mod format;
#[doc(hidden)]
pub mod id;
#[doc(hidden)]
pub mod line;
#[doc(hidden)]
pub mod names;
#[doc(hidden)]
pub mod report;
#[doc(hidden)]
pub mod secret;
#[doc(hidden)]
pub mod signature;
#[doc(hidden)]
pub mod time;
#[doc(hidden)]
pub mod trace;
#[doc(hidden)]
pub mod verify;
#[doc(hidden)]
pub mod webhook;

pub use id::{RequestId, RequestIdError};
pub use report::{EndReason, Ends, Format, Report, ReportError, Status, StoredResult, UnknownFormat};
pub use secret::{PublicKey, Secret, SecretError, Verifies, VerifyingKey};
pub use verify::{ReceivedProgress, ReceivedReport, SignError, Verified, VerifyError, sign, verify};
#[cfg(feature = "axum")]
pub use verify::{VerifiedRejection, VerifyingKeys};
pub use webhook::{Chosen, IntoWebhook, Webhook, WebhookError, Webhooks};
