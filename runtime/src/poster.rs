//! The way in for reports, for whoever has one: ambient and non-blocking.
//!
//! Invariant: taking a report in never waits for the network, and never fails or panics the caller's work.

pub(crate) mod ambient;
mod builder;
mod disabled;
mod engine;
mod flush;
mod fork_guard;
mod loss;
#[cfg(feature = "server")]
mod request_end;
mod sink;

use std::sync::Arc;

pub use self::builder::{PosterBuilder, StartError};
use self::disabled::Disabled;
pub(crate) use self::engine::Flusher;
pub use self::flush::{Flushed, PosterGuard, flush};
pub(crate) use self::loss::{Loss, lost};
#[cfg(feature = "server")]
pub(crate) use self::request_end::{Registered, RequestEnd};
pub(crate) use self::sink::Outbox;
use crate::report::Report;
use crate::store::{self, NewReport};
use crate::webhook::{IntoWebhook, Target, Webhook, WebhookError, Webhooks};
use engine::Engine;

/// Takes reports in and has them delivered, in the background.
///
/// A program installs one at its start, and annotated functions find it by themselves:
///
/// ```
/// # fn main() -> Result<(), postback::StartError> {
/// let guard = postback::Poster::builder().trust("https://hooks.example.com/in").install()?;
/// // … the program …
/// drop(guard); // better: `guard.shutdown(timeout).await`
/// # Ok(()) }
/// ```
///
/// Without one, the first report starts an in-memory poster, with a warning. Cheap to clone.
///
/// With `POSTBACK_DISABLED=1` in the environment every poster is as if made with [`PosterBuilder::discard`]: reports are
/// counted and dropped. In a process that was forked from the one that started it, a poster refuses reports and counts them
/// as lost, for its threads have stayed behind; such a process may install one of its own.
#[derive(Clone)]
pub struct Poster(Mode);

#[derive(Clone)]
enum Mode {
    Active {
        outbox: Outbox,
        engine: Arc<Engine>,
    },
    /// Reporting is turned off.
    Disabled(Disabled),
}

impl Poster {
    /// What a poster is made of: where reports are stored, whom to trust, how to try.
    pub fn builder() -> PosterBuilder {
        PosterBuilder::default()
    }

    /// Takes a report in and returns at once. With a durable store it is on disk with the next group commit, milliseconds later.
    ///
    /// # Errors
    ///
    /// If a URL cannot be used, the queue is full, the poster was shut down, or this process was forked from the poster's;
    /// then none of the webhooks gets it.
    pub fn post(&self, webhook: &(impl IntoWebhook + ?Sized), report: &Report) -> Result<(), PostError> {
        match &self.0 {
            Mode::Active { outbox, .. } => Ok(outbox.store().post(new_reports(outbox, webhook, report)?)?),
            Mode::Disabled(disabled) => discard(disabled, webhook),
        }
    }

    /// Takes a report in and returns when it is committed: on disk, if the store is durable.
    ///
    /// # Errors
    ///
    /// As [`post`](Self::post), and if the store cannot write. It waits while the queue is full.
    ///
    /// # Cancel safety
    ///
    /// Dropped half-way, the report may or may not have been taken in.
    pub async fn post_durably(&self, webhook: &(impl IntoWebhook + ?Sized), report: &Report) -> Result<(), PostError> {
        match &self.0 {
            Mode::Active { outbox, .. } => {
                let reports = new_reports(outbox, webhook, report)?;
                Ok(outbox.store().post_durably(reports).await?)
            }
            Mode::Disabled(disabled) => discard(disabled, webhook),
        }
    }

    /// Sends to this URL again, after its receiver had answered 410 or `webhook-delivery: disable`. How many reports were
    /// held for it meanwhile; they are due now.
    ///
    /// # Errors
    ///
    /// If it is no webhook's URL, or the poster was shut down, or the store cannot write.
    ///
    /// # Cancel safety
    ///
    /// Dropped half-way, the URL may or may not have been enabled; doing it again does no harm.
    pub async fn enable(&self, url: impl AsRef<str>) -> Result<u64, PostError> {
        let webhook = Webhook::new(url).map_err(PostKind::Webhook)?;
        match &self.0 {
            Mode::Active { outbox, .. } if outbox.is_forked() => Err(PostKind::Forked.into()),
            Mode::Active { outbox, .. } => {
                Ok(outbox.store().enable(webhook.url().as_str()).await.map_err(PostKind::Enable)?)
            }
            // Nothing was sent, so nothing is disabled.
            Mode::Disabled(_) => Ok(0),
        }
    }

    /// How to know that what was posted is safe.
    fn flusher(&self) -> Flusher {
        match &self.0 {
            Mode::Active { engine, .. } => engine.flusher(),
            Mode::Disabled(disabled) => Flusher::Disabled(disabled.clone()),
        }
    }

    fn sink(&self) -> Arc<dyn ambient::Sink> {
        match &self.0 {
            Mode::Active { outbox, .. } => Arc::new(outbox.clone()),
            Mode::Disabled(disabled) => Arc::new(disabled.clone()),
        }
    }

    fn is_disabled(&self) -> bool {
        matches!(self.0, Mode::Disabled(_))
    }
}

fn new_reports(
    outbox: &Outbox,
    webhook: &(impl IntoWebhook + ?Sized),
    report: &Report,
) -> Result<Vec<NewReport>, PostError> {
    if outbox.is_forked() {
        lost(Loss::Forked, report.id(), "");
        return Err(PostKind::Forked.into());
    }
    let now = outbox.clock().now();
    let body = report.body(now);
    let new = |target: Target| {
        let webhook = target.into_webhook().map_err(PostKind::Webhook)?;
        Ok(NewReport::to(webhook, report.id(), body.clone(), now))
    };
    Webhooks::of(webhook).resolve_for(outbox.default_provenance()).map(new).collect()
}

/// What could not be posted cannot be discarded either: a mistake shows wherever the program runs.
fn discard(disabled: &Disabled, webhook: &(impl IntoWebhook + ?Sized)) -> Result<(), PostError> {
    let webhooks = Webhooks::of(webhook);
    webhooks.resolve().try_for_each(|target| target.into_webhook().map(drop)).map_err(PostKind::Webhook)?;
    disabled.discard(webhooks.len());
    Ok(())
}

impl std::fmt::Debug for Poster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Mode::Active { outbox, .. } => {
                f.debug_struct("Poster").field("durable", &outbox.store().is_durable()).finish_non_exhaustive()
            }
            Mode::Disabled(_) => f.write_str("Poster(off)"),
        }
    }
}

/// A report was not taken in.
#[derive(thiserror::Error)]
#[error(transparent)]
pub struct PostError(#[from] PostKind);

crate::line::debug_as_message!(PostError);

#[derive(Debug, thiserror::Error)]
enum PostKind {
    #[error("the webhook cannot be used")]
    Webhook(#[source] WebhookError),
    #[error("the poster belongs to the process that this one was forked from; start one after the fork")]
    Forked,
    #[error("the report was not stored")]
    Store(#[source] store::Error),
    #[error("the webhook was not enabled")]
    Enable(#[source] store::Error),
}

impl From<store::Error> for PostError {
    fn from(error: store::Error) -> Self {
        Self(PostKind::Store(error))
    }
}

impl PostError {
    /// Too many reports wait already; later there may be room.
    pub fn is_full(&self) -> bool {
        matches!(self.0, PostKind::Store(store::Error::Full))
    }

    /// The poster belongs to the process that this one was forked from, where its threads have stayed.
    pub fn is_forked(&self) -> bool {
        matches!(self.0, PostKind::Forked)
    }

    /// The poster was shut down.
    pub fn is_closed(&self) -> bool {
        matches!(self.0, PostKind::Store(store::Error::Closed) | PostKind::Enable(store::Error::Closed))
    }
}

#[cfg(test)]
mod tests;
