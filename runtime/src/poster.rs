//! Accepts reports and delivers them. Reports come from annotated functions, which find the poster by themselves, and
//! from code that calls [`Poster::post`].
//!
//! Invariant: accepting a report never waits for the network, and never makes the caller's work fail or panic.

pub(crate) mod ambient;
mod beat;
mod blocking;
mod builder;
mod call;
mod disabled;
mod engine;
mod flush;
mod flushed;
mod fork_guard;
mod formats;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod hand_in;
mod loss;
mod process;
#[cfg(feature = "server")]
mod progress;
#[cfg(feature = "server")]
mod request_end;
#[cfg(feature = "server")]
mod requests;
mod sink;

use std::sync::Arc;

pub use self::blocking::blocking;
pub use self::builder::{PosterBuilder, StartError};
use self::disabled::DisabledReporting;
pub(crate) use self::engine::Flusher;
pub use self::flush::{PosterGuard, flush};
pub use self::flushed::Flushed;
use self::formats::Bodies;
pub(crate) use self::formats::Formats;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use self::hand_in::{HandIn, HandInRow, PrepareError};
pub(crate) use self::loss::{Loss, lost};
#[cfg(feature = "server")]
pub(crate) use self::progress::ProgressReports;
#[cfg(feature = "server")]
pub(crate) use self::request_end::{Registered, RequestEnd};
#[cfg(feature = "server")]
pub(crate) use self::requests::Requests;
pub(crate) use self::sink::Outbox;
use engine::Engine;
use postback_store::{self as store, NewReport};
use postback_wire::report::{About, Report};
use postback_wire::webhook::{IntoWebhook, Target, Webhook, WebhookError, Webhooks};

/// Accepts reports and delivers them in the background.
///
/// A program installs a poster at its start, and annotated functions find this poster by themselves:
///
/// ```
/// # fn main() -> Result<(), postback::StartError> {
/// let guard = postback::Poster::builder().trust("https://hooks.example.com/in").install()?;
/// // … the program …
/// drop(guard); // better: `guard.shutdown(timeout).await`
/// # Ok(()) }
/// ```
///
/// If the program has installed no poster, the first report starts an in-memory poster and logs a warning. A poster is
/// cheap to clone.
///
/// If the environment has `POSTBACK_DISABLED=1`, every poster acts as if it was built with [`PosterBuilder::discard`]:
/// reports are counted and dropped.
///
/// A poster does not work in a forked process, because its threads are in the parent process. In a forked process, the
/// poster refuses reports and counts the refused reports as lost. A forked process may install another poster.
#[derive(Clone)]
pub struct Poster(Mode);

#[derive(Clone)]
enum Mode {
    Active {
        outbox: Outbox,
        flusher: Flusher,
        /// The threads of the poster, which end when the last of its posters is dropped. `None`: something else keeps
        /// them.
        engine: Option<Arc<Engine>>,
        /// What checks requests for the routes of the server. `None`: the poster belongs to no server.
        #[cfg(feature = "server")]
        requests: Option<Requests>,
    },
    /// A poster for which reporting is turned off. The poster counts the reports and drops them.
    Disabled(DisabledReporting),
}

impl Poster {
    /// Returns a builder, whose methods set where reports are stored, which URLs are trusted, and how reports are
    /// delivered.
    pub fn builder() -> PosterBuilder {
        PosterBuilder::default()
    }

    /// Accepts a report for delivery in the background, and returns without waiting. If the store is durable, the
    /// report is on disk after the next group commit, which follows within milliseconds.
    ///
    /// # Errors
    ///
    /// Fails if a URL cannot be used, if the queue is full, if the poster was shut down, or if this process was forked
    /// from the poster's process. If this method fails, the report is sent to none of the webhooks.
    pub fn post(&self, webhook: &(impl IntoWebhook + ?Sized), report: &Report) -> Result<(), PostError> {
        match &self.0 {
            Mode::Active { outbox, .. } => Ok(outbox.store().post(new_reports(outbox, webhook, report)?)?),
            Mode::Disabled(disabled) => discard(disabled, webhook),
        }
    }

    /// Accepts a report for delivery in the background, and waits until the store has committed the report. If the
    /// store is durable, the committed report is on disk.
    ///
    /// # Errors
    ///
    /// Fails for the same reasons as [`post`](Self::post), and also if the store cannot write. But if the queue is
    /// full, this method waits and does not fail.
    ///
    /// # Cancel safety
    ///
    /// If you drop the future before it is ready, the report may or may not have been accepted.
    pub async fn post_durably(&self, webhook: &(impl IntoWebhook + ?Sized), report: &Report) -> Result<(), PostError> {
        match &self.0 {
            Mode::Active { outbox, .. } => {
                let reports = new_reports(outbox, webhook, report)?;
                Ok(outbox.store().post_durably(reports).await?)
            }
            Mode::Disabled(disabled) => discard(disabled, webhook),
        }
    }

    /// Enables a URL that the poster has disabled because its receiver answered 410 or `webhook-delivery: disable`.
    /// Returns the number of reports that were held for the URL. The poster sends these reports now.
    ///
    /// # Errors
    ///
    /// Fails if the URL is not valid for a webhook, if the poster was shut down, or if the store cannot write.
    ///
    /// # Cancel safety
    ///
    /// If you drop the future before it is ready, the URL may or may not have been enabled. You can call `enable`
    /// again.
    pub async fn enable(&self, url: impl AsRef<str>) -> Result<u64, PostError> {
        let webhook = Webhook::new(url).map_err(PostKind::Webhook)?;
        match &self.0 {
            Mode::Active { outbox, .. } if outbox.is_forked() => Err(PostKind::Forked.into()),
            Mode::Active { outbox, .. } => {
                Ok(outbox.store().enable(webhook.url().as_str()).await.map_err(PostKind::Enable)?)
            }
            // A poster for which reporting is turned off sends nothing, so it has no disabled URLs to enable.
            Mode::Disabled(_) => Ok(0),
        }
    }

    /// Returns the flusher of this poster. The flusher waits until all posted reports are safe: committed in a durable
    /// store, or attempted once in an in-memory store.
    fn flusher(&self) -> Flusher {
        match &self.0 {
            Mode::Active { flusher, .. } => flusher.clone(),
            Mode::Disabled(disabled) => Flusher::Disabled(disabled.clone()),
        }
    }

    /// Makes the poster of a program without a server.
    fn with_engine(outbox: Outbox, flusher: Flusher, engine: Arc<Engine>) -> Self {
        Self(Mode::Active {
            outbox,
            flusher,
            engine: Some(engine),
            #[cfg(feature = "server")]
            requests: None,
        })
    }

    /// Makes the poster of a server, whose store and delivery the server keeps. `checks` checks requests for its routes.
    #[cfg(feature = "server")]
    pub(crate) fn of_server(outbox: Outbox, flusher: Flusher, checks: &Requests) -> Self {
        Self(Mode::Active { outbox, flusher, engine: None, requests: Some(checks.clone()) })
    }

    /// Returns this poster without its hold on the threads.
    fn without_hold(&self) -> Self {
        let mut poster = self.clone();
        if let Mode::Active { engine, .. } = &mut poster.0 {
            *engine = None;
        }
        poster
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

/// Returns the poster of this process: in a workload server, also in its handlers, that of the server; in another
/// program, the installed one. `None`: there is none, and no report has started one.
///
/// With it, a handler posts further reports, under any id and to any webhook, which are delivered whatever becomes of its
/// run. In a server, a URL that is not marked as [`Webhook::trusted`] counts as one that a caller chose: reports to it
/// are not signed, and reach public addresses only.
///
/// ```
/// use postback::{Payload, Report, RequestId, Webhook};
///
/// async fn render(frames: Payload<u32>, request_id: RequestId) -> Result<u32, Box<dyn std::error::Error + Send + Sync>> {
///     if let Some(poster) = postback::poster() {
///         let half_way = Report::completed(&request_id, &format!("{} of {}", *frames / 2, *frames))?;
///         poster.post(&Webhook::trusted("https://hooks.example.com/half-way"), &half_way)?;
///     }
///     Ok(*frames)
/// }
/// ```
pub fn poster() -> Option<Poster> {
    process::poster()
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
    let outcome = report.outcome(now);
    let mut bodies = Bodies::new(&outcome, About { id: report.id(), ..About::default() });
    let new = |target: Target| {
        let (format, target) = outbox.formats().decide(target);
        let webhook = target.into_webhook().map_err(PostKind::Webhook)?;
        Ok(NewReport::to(webhook, report.id(), bodies.of(format), now))
    };
    Webhooks::of(webhook).resolve_for(outbox.default_provenance()).map(new).collect()
}

/// Counts a report and drops it. Returns an error if the report has an invalid webhook, so that you see this mistake
/// even if reporting is turned off.
fn discard(disabled: &DisabledReporting, webhook: &(impl IntoWebhook + ?Sized)) -> Result<(), PostError> {
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

/// The error that says why a report was not accepted, or why a URL was not enabled.
#[derive(thiserror::Error)]
#[error(transparent)]
pub struct PostError(#[from] PostKind);

postback_wire::line::debug_as_message!(PostError);

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
    /// Whether the report was refused because the queue is full. The queue may have free space later.
    pub fn is_full(&self) -> bool {
        matches!(self.0, PostKind::Store(store::Error::Full))
    }

    /// Whether the call failed because this process was forked from the poster's process. A forked process does not
    /// have the poster's threads.
    pub fn is_forked(&self) -> bool {
        matches!(self.0, PostKind::Forked)
    }

    /// Whether the call failed because the poster was shut down.
    pub fn is_closed(&self) -> bool {
        matches!(self.0, PostKind::Store(store::Error::Closed) | PostKind::Enable(store::Error::Closed))
    }
}

#[cfg(test)]
mod tests;
