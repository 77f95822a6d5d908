//! Reports of the progress of a run: while it goes on, to the webhooks that it has registered, the newest progress only.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Outbox;
use super::request_end::Trace;
use crate::delivery::{Control, ProgressEnd, ProgressReport};
use postback_store::backoff::Backoff;
use postback_store::{ClaimedRequest, Extras, Told};
use postback_wire::id::{ReportId, RequestId};
use postback_wire::names::metric;
use postback_wire::report::{About, Format, OfProgress};
use postback_wire::webhook::{Target, Webhook};

/// The longest time that the outcome of a run waits for the end of an attempt. The attempt is told to end before, and ends
/// at once unless the threads of the delivery are very busy.
const LONGEST_END: Duration = Duration::from_secs(1);
/// How long a report waits if its origin has no room for an attempt.
const BUSY_PAUSE: Duration = Duration::from_secs(1);
/// The pause after a failed attempt. Each further failure doubles the pause. A receiver that takes no progress must not get
/// two attempts a second from each run.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// How often a run that has told something is asked for its webhooks, until they are known.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// The largest number of webhooks of one run that get its progress.
const MAX_WEBHOOKS: usize = 8;

/// Sends the progress of one run to its webhooks. Of the reports to one webhook, one attempt is in flight; a newer progress
/// replaces one that waits for its end.
pub(crate) struct ProgressReports {
    outbox: Outbox,
    request: RequestId,
    route: String,
    extras: Option<Arc<Extras>>,
    /// The last progress that is stored.
    newest: watch::Sender<Option<Arc<Stored>>>,
    /// Has seen no progress. A clone of it also sees one that was told before `send_all` began.
    unseen: watch::Receiver<Option<Arc<Stored>>>,
    /// Cancelled when no more progress may be sent.
    ended: CancellationToken,
}

/// A progress that is stored.
struct Stored {
    told: Told,
    sequence: u64,
    /// How many have come in this run, with this one.
    number: u64,
}

impl ProgressReports {
    pub(crate) fn new(outbox: &Outbox, row: &ClaimedRequest) -> Self {
        let (newest, unseen) = watch::channel(None);
        Self {
            outbox: outbox.clone(),
            request: row.claim.id.clone(),
            route: row.route.clone(),
            extras: row.extras.clone(),
            newest,
            unseen,
            ended: CancellationToken::new(),
        }
    }

    /// Sends this progress, which is stored, in place of one that was not sent yet.
    pub(crate) fn tell(&self, told: Told, sequence: u64) {
        self.newest.send_modify(|newest| {
            let number = newest.as_ref().map_or(0, |earlier| earlier.number) + 1;
            *newest = Some(Arc::new(Stored { told, sequence, number }));
        });
    }

    /// Sends no more progress. An attempt that is in flight ends now.
    pub(crate) fn end(&self) {
        self.ended.cancel();
    }

    /// Sends what is told, until the end. When this function returns, nothing of an attempt is left, so that no progress
    /// comes after the report of the outcome. `webhooks` returns those of the run that want it, when they are known.
    pub(crate) async fn send_all(&self, webhooks: impl Fn() -> Option<Vec<Target>>) {
        let Some(delivery) = self.outbox.delivery() else { return };
        let attempts = TaskTracker::new();
        let sending = async {
            let mut newest = self.unseen.clone();
            // Waiting fails only if the sender is dropped, which this value has.
            let _ = newest.changed().await;
            let mut webhooks = loop {
                if let Some(webhooks) = webhooks() {
                    break webhooks;
                }
                // The handler may have told its progress before the annotated call has begun, and may tell no more.
                let _ = tokio::time::timeout(ASK_AGAIN, newest.changed()).await;
            };
            if webhooks.len() > MAX_WEBHOOKS {
                let (id, n) = (&self.request, webhooks.len());
                tracing::debug!(request_id = %id, "the first {MAX_WEBHOOKS} of the {n} webhooks of {id} get its progress");
                webhooks.truncate(MAX_WEBHOOKS);
            }
            join_all(webhooks.into_iter().map(|webhook| self.send_to(webhook, &delivery, &attempts))).await;
        };
        tokio::select! {
            biased;
            () = self.ended.cancelled() => {}
            () = sending => {}
        }
        attempts.close();
        if tokio::time::timeout(LONGEST_END, attempts.wait()).await.is_err() {
            let id = &self.request;
            tracing::warn!(request_id = %id, route = self.route, "the attempt to send a progress report of {id} has not ended after 1 s; the outcome no longer waits for it");
        }
    }

    /// Sends what is told to one webhook, until it wants no more.
    async fn send_to(&self, target: Target, delivery: &Control, attempts: &TaskTracker) {
        let (format, target) = self.outbox.formats().decide(target);
        // The report of the outcome says that the URL is wrong.
        let Ok(webhook) = target.into_webhook() else { return };
        let trace = Trace::of(self.extras.as_deref());
        let mut newest = self.newest.subscribe();
        newest.mark_changed();
        let mut seen = 0;
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            // Waiting fails only if the sender is dropped, which this value has.
            let _ = newest.changed().await;
            let Some(stored) = newest.borrow_and_update().clone() else { continue };
            count("replaced", stored.number.saturating_sub(seen + 1));
            seen = stored.number;
            let report = self.report(&stored, &webhook, format, trace.as_ref());
            match delivery.send_progress(report, attempts.token()).await {
                ProgressEnd::Sent => {
                    count("sent", 1);
                    backoff.reset();
                }
                ProgressEnd::Failed => {
                    count("failed", 1);
                    tokio::time::sleep(backoff.pause()).await;
                }
                ProgressEnd::Unwanted => return count("failed", 1),
                ProgressEnd::Busy => {
                    // The newest one is tried again: this one, or one that has replaced it.
                    seen -= 1;
                    tokio::time::sleep(BUSY_PAUSE).await;
                    newest.mark_changed();
                }
            }
        }
    }

    fn report(&self, stored: &Stored, webhook: &Webhook, format: Format, trace: Option<&Trace>) -> ProgressReport {
        let Told { fraction, message, detail, at } = &stored.told;
        let (message, detail) = (message.as_deref(), detail.as_ref());
        let progress = OfProgress { fraction: *fraction, message, detail, sequence: stored.sequence, at: *at };
        let metadata = self.extras.as_deref().and_then(|extras| extras.metadata.as_deref());
        let about = About { id: self.request.as_str(), source: &self.route, metadata, sequence: None };
        let (id, mut webhook) = (ReportId::generate(), webhook.clone());
        if let Some(trace) = trace {
            trace.continue_in(&mut webhook, id);
        }
        ProgressReport { id, request: self.request.clone(), webhook, body: progress.to_report_in(format, about) }
    }
}

fn count(result: &'static str, reports: u64) {
    if reports > 0 {
        metrics::counter!(metric::PROGRESS_REPORTS, "result" => result).increment(reports);
    }
}
