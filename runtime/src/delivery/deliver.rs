//! Delivers one claimed report: makes the attempt, settles it, and logs it.

mod count;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use metrics::counter;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::Options;
use super::attempt::{AttemptResult, Message, Sender};
use super::client::Error;
use super::event::Slot;
use super::failure_log::{FailureLog, store_backoff};
use super::free_retries::FreeRetries;
use super::log::{self, AttemptLine, Log};
use super::probes::{self, Probes};
use super::shortage::Shortage;
use super::work::Work;
use crate::policy::after_attempt::{AttemptEnd, judge};
use crate::policy::breaker::Health;
use crate::policy::destination::Destinations;
use crate::policy::schedule::Schedule;
use crate::spans::{self, OfReport};
use postback_store::Next;
use postback_store::shutdown::Shutdown;
use postback_store::{self as store, Attempt, ClaimedReport, ReportClaim, Settled, Store};
use postback_wire::id::RequestId;
use postback_wire::names::metric;
use postback_wire::time::{Clock, Timestamp};
use postback_wire::webhook::Target;

/// After the shutdown has begun, a failed operation of the store is repeated for at most this time. If the result of an
/// attempt is still not stored then, the next process that opens the store voids the claim of the report and sends the
/// report again.
const RETRY_AFTER_STOP: Duration = Duration::from_secs(10);
/// The largest number of attempted reports that wait until the store has committed their result. This limit applies
/// only to reports that were read from the store. A new report that the store passed on in memory needs no such limit,
/// because it keeps its share of the store's limited memory until it is settled.
const MAX_SETTLING: usize = 4_096;
/// How long a report waits if this machine could not make its attempt. A random time of up to 5 s is added, so that not
/// all of these reports are attempted again at the same moment.
const PUT_OFF: Duration = Duration::from_secs(5);
/// How long a slot, the right to make one attempt, stays in use after an attempt that was not made because this machine
/// lacked a resource that every attempt needs.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(500);

/// Makes the attempt of a claimed report, and settles and logs the report.
pub(super) struct Deliverer {
    pub(super) store: Store,
    clock: Clock,
    rules: RwLock<Arc<Rules>>,
    pub(super) sender: Sender,
    log: Log,
    failures: FailureLog,
    settling: Semaphore,
    probes: Probes,
    free_retries: FreeRetries,
}

/// The options that may change between two attempts.
pub(super) struct Rules {
    schedule: Schedule,
    pub(super) destinations: Destinations,
}

impl Rules {
    fn of(options: &Options) -> Self {
        let Options { schedule, destinations, .. } = options;
        Self { schedule: schedule.clone(), destinations: destinations.clone() }
    }
}

/// The result of an attempt that counts in the schedule, and the decision what happens to the report next.
struct Judged {
    result: AttemptResult,
    next: Next,
    /// When the attempt ended.
    ended: Timestamp,
    /// Whether the attempt was a probe. A probe is an attempt at a URL that was disabled before the attempt.
    is_probe: bool,
    /// Whether the attempt disables the URL.
    disables: bool,
}

impl Deliverer {
    pub(super) fn new(store: Store, clock: Clock, options: &Options) -> Result<Self, Error> {
        let sender = Sender::new(options, clock.clone())?;
        let rules = RwLock::new(Arc::new(Rules::of(options)));
        let failures = FailureLog::new("recording deliveries");
        Ok(Self {
            store,
            clock,
            rules,
            sender,
            log: Log::default(),
            failures,
            settling: Semaphore::new(MAX_SETTLING),
            probes: Probes::default(),
            free_retries: FreeRetries::default(),
        })
    }

    /// Replaces the options that may change while the delivery runs. Attempts that have begun keep those that they have.
    pub(super) fn replace(&self, options: &Options) {
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Rules::of(options));
        self.sender.replace(options);
    }

    pub(super) fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes the attempt of a report, and settles the report. The slot is free as soon as the attempt has ended, so a
    /// slow disk delays no other attempt. The report's share of the store's memory is free only when the report is
    /// settled. This limits how many attempted reports wait for the disk.
    pub(super) async fn deliver(&self, work: Work, mut slot: Slot, shutdown: &Shutdown) {
        let Work { report, .. } = &work;
        tokio::select! {
            biased;
            () = self.store.may_begin() => {}
            () = shutdown.stopping() => return self.put_back(report.claim.clone()).await,
        }
        let is_probe = self.store.is_disabled(report.to.url());
        if is_probe && !self.may_probe(report) {
            self.hold(report.claim.clone(), shutdown).await;
            return;
        }
        let rules = self.rules();
        let withholds_trust = report.to.webhook().is_ok_and(|webhook| rules.destinations.withholds_trust(webhook));
        if withholds_trust {
            self.log.log_withheld(&report.to);
        }
        let result = self.attempt(report, &rules.destinations).await;
        let ended = self.clock.now();
        if let Some(shortage) = result.shortage {
            self.put_off(&work, shortage, result.attempt.error.as_deref(), ended, shutdown).await;
            return;
        }
        if let Some(pause) = self.free_retry(report, &result) {
            slot.record(Health::of(None, result.connected), &work, result.attempt.took);
            drop(slot);
            self.retry_free(&work, &result, pause, ended, shutdown).await;
            return;
        }
        count::attempt(&self.store, report.to.origin(), &result);
        let next = self.judge(report, &result, withholds_trust, ended);
        if is_probe && matches!(next, Next::Gone { disable: true }) {
            // The URL is still disabled, so the report stays held. The next probe, which is a held report that is sent
            // once a day, shows whether the receiver accepts reports again.
            log::log_still_disabled(&report.to, result.attempt.error.as_deref());
            self.hold(report.claim.clone(), shutdown).await;
            return;
        }
        let disables = next.disables() && !self.store.is_disabled(report.to.url());
        self.settle_and_log(work, slot, Judged { result, next, ended, is_probe, disables }, shutdown).await;
    }

    /// Whether a report to a disabled URL may be sent as a probe, which tests whether the receiver accepts reports
    /// again.
    fn may_probe(&self, report: &ClaimedReport) -> bool {
        !self.store.is_disabled_by_operator(report.to.url())
            && self.is_trusted(report)
            && self.probes.begin(report.to.url(), self.clock.elapsed())
    }

    async fn attempt(&self, report: &ClaimedReport, destinations: &Destinations) -> AttemptResult {
        match report.to.webhook() {
            Ok(webhook) => {
                let policy = destinations.policy_for(webhook);
                let (id, subject) = (report.webhook_id, &report.subject);
                let of = OfReport { webhook_id: id, subject, route: report.route(), attempt: report.attempt };
                let span = spans::attempt(&of, webhook);
                let message = Message { id, subject, body: report.body.clone(), span: spans::context(&span) };
                let result = self.sender.send(message, webhook, &policy).instrument(span.clone()).await;
                spans::attempted(&span, result.attempt.status, result.trouble());
                result
            }
            Err(error) => AttemptResult::refused(self.clock.now(), error),
        }
    }

    /// Returns the pause before the report is sent again without using up an attempt. `None` if this attempt counts in
    /// the schedule.
    fn free_retry(&self, report: &ClaimedReport, result: &AttemptResult) -> Option<Duration> {
        if result.unprocessed {
            return self.free_retries.pause(report.claim.id, report.attempt);
        }
        self.free_retries.forget(report.claim.id);
        None
    }

    /// Decides what happens to the report after an attempt.
    fn judge(&self, report: &ClaimedReport, result: &AttemptResult, withholds_trust: bool, now: Timestamp) -> Next {
        let next = judge(result.end, report.attempt, &self.rules().schedule, now, &mut rand::rng());
        // A receiver may answer 410 to every unsigned report. If this report is unsigned because a caller chose its
        // webhook, the 410 must not stop the operator's own reports to this URL.
        if withholds_trust { next.without_disabling() } else { next }
    }

    /// Commits the attempt, and the decision what happens to the report next. Then logs both.
    async fn settle_and_log(&self, work: Work, mut slot: Slot, judged: Judged, shutdown: &Shutdown) {
        let Work { report, .. } = &work;
        let Judged { result, next, ended, is_probe, disables } = &judged;
        let (next, ended) = (*next, *ended);
        if *disables && self.is_trusted(report) {
            // The URL is recorded as disabled before the commit. Otherwise a report that comes right after the commit
            // would be sent as a probe, which tests whether the receiver accepts reports again.
            self.probes.disabled(report.to.url(), self.clock.elapsed());
        }
        if result.end != AttemptEnd::Refused {
            slot.record(Health::of(result.attempt.status, result.connected), &work, result.attempt.took);
        }
        // `acquire` does not fail, because this semaphore is never closed. While a report waits for the permit, its
        // slot stays in use.
        let settling = if work.room.is_none() { self.settling.acquire().await.ok() } else { None };
        drop(slot);
        let settled = self.settle(report.claim.clone(), &result.attempt, next, shutdown).await;
        if settled == Some(Settled::Current) {
            count::end(&self.store, report.to.origin(), next, ended.since(report.created));
        }
        self.log_attempt(report, result, next, ended).await;
        if *disables && settled == Some(Settled::Current) {
            log::log_disabled(&report.to, result.attempt.error.as_deref(), self.is_trusted(report));
        }
        if *is_probe && next == Next::Delivered {
            self.enable(report.to.url(), &report.to).await;
        }
        drop((settling, work));
    }

    /// Once a day, sends one report as a probe to each disabled URL that is trusted. A probe tests whether the receiver
    /// accepts reports again.
    pub(super) async fn probe_disabled(&self, stop: Shutdown) {
        probes::run(self.store.clone(), self.clock.clone(), || self.rules(), &self.probes, stop).await;
    }

    fn is_trusted(&self, report: &ClaimedReport) -> bool {
        report.to.webhook().is_ok_and(|webhook| self.rules().destinations.trusts(webhook))
    }

    /// Enables a URL, because its receiver accepts reports again. If the store fails, the operation is not repeated,
    /// because the next probe, a report that is sent once a day, enables the URL.
    async fn enable(&self, url: &str, to: &Target) {
        match self.store.enable_for_receiver(url).await {
            Ok(Some(reports)) => {
                self.probes.enabled(url);
                log::log_enabled(to, reports);
            }
            // An operator has disabled the URL while the probe was on its way.
            Ok(None) | Err(store::Error::Closed) => {}
            Err(error) => {
                self.failures.failed(&error);
            }
        }
    }

    /// Puts a report back into the store, because this machine lacks a resource that the attempt needs. No attempt is
    /// used up.
    async fn put_off(&self, work: &Work, shortage: Shortage, why: Option<&str>, now: Timestamp, stop: &Shutdown) {
        counter!(metric::ATTEMPTS_PUT_OFF, "reason" => shortage.as_str()).increment(1);
        self.log.log_put_off(shortage, why.unwrap_or_default(), now);
        if shortage.affects_all_attempts() {
            // The slot stays in use during the pause, because the next attempt in this slot would lack the same
            // resource.
            tokio::select! {
                () = stop.stopping() => {}
                () = tokio::time::sleep(SHORTAGE_PAUSE) => {}
            }
        }
        let due = now.saturating_add(PUT_OFF + rand::random_range(Duration::ZERO..PUT_OFF));
        self.put_back_until(work, due, stop).await;
    }

    /// Puts a report back into the store, because its receiver says that it has not processed the request. No attempt
    /// is used up.
    async fn retry_free(&self, work: &Work, result: &AttemptResult, pause: Duration, now: Timestamp, stop: &Shutdown) {
        counter!(metric::ATTEMPTS_PUT_OFF, "reason" => "not_processed").increment(1);
        let why = result.attempt.error.as_deref().unwrap_or_default();
        self.log.log_unprocessed(&work.report, why, pause, now);
        let due = now.saturating_add(pause + rand::random_range(Duration::ZERO..=pause / 5));
        self.put_back_until(work, due, stop).await;
    }

    /// Puts a report back into the store. The report is due again at the time `due`. No attempt is used up.
    async fn put_back_until(&self, work: &Work, due: Timestamp, stop: &Shutdown) {
        self.persist(stop, || self.store.put_back_report_until(work.report.claim.clone(), due)).await;
    }

    /// Puts back a report that was claimed and not attempted. If the store fails, the operation is not repeated,
    /// because the next process that opens the store voids the claim.
    pub(super) async fn put_back(&self, claim: ReportClaim) {
        match self.store.put_back_report(claim).await {
            Ok(_) | Err(store::Error::Closed) => {}
            Err(error) => {
                self.failures.failed(&error);
            }
        }
    }

    /// Holds a claimed report until its URL is enabled.
    async fn hold(&self, claim: ReportClaim, stop: &Shutdown) {
        self.persist(stop, || self.store.hold_report(claim.clone())).await;
    }

    /// Parks a report that was claimed and not attempted. If `url` is given, the report is parked under this URL,
    /// otherwise under its origin. Returns whether the store has committed the parking.
    pub(super) async fn park(&self, claim: ReportClaim, url: Option<Arc<str>>, stop: &Shutdown) -> bool {
        let parked = match url {
            Some(url) => self.persist(stop, || self.store.park_report_under(claim.clone(), url.clone())).await,
            None => self.persist(stop, || self.store.park_report(claim.clone())).await,
        };
        parked.is_some()
    }

    async fn settle(&self, claim: ReportClaim, attempt: &Attempt, next: Next, stop: &Shutdown) -> Option<Settled> {
        self.persist(stop, || self.store.settle_report(claim.clone(), attempt.clone(), next)).await
    }

    /// Repeats an operation of the store until it succeeds. Returns `None` if the store is closed, or if the operation
    /// still fails 10 s after the shutdown has begun. In both cases, the next process that opens the store voids the
    /// claim of the report.
    async fn persist<F>(&self, stop: &Shutdown, operation: impl Fn() -> F) -> Option<Settled>
    where
        F: Future<Output = Result<Settled, store::Error>>,
    {
        let mut backoff = store_backoff();
        let mut stopping_since = None;
        loop {
            match operation().await {
                Ok(settled) => {
                    self.failures.succeeded();
                    return Some(settled);
                }
                Err(store::Error::Closed) => return None,
                Err(error) => {
                    self.failures.failed(&error);
                    if stop.is_stopping()
                        && stopping_since.get_or_insert_with(Instant::now).elapsed() >= RETRY_AFTER_STOP
                    {
                        return None;
                    }
                    tokio::time::sleep(backoff.pause()).await;
                }
            }
        }
    }

    async fn log_attempt(&self, report: &ClaimedReport, result: &AttemptResult, next: Next, now: Timestamp) {
        let looked_up = match next {
            Next::Dead | Next::Gone { .. } if report.route().is_none() => self.route(report).await,
            _ => None,
        };
        self.log.attempt(&AttemptLine {
            webhook_id: report.webhook_id,
            // The note says how the run of the request ended. Only the log line about the first attempt contains the
            // note.
            note: report.note.as_deref().filter(|_| report.attempt <= 1),
            request_id: &report.subject,
            route: report.route().or(looked_up.as_deref()),
            to: &report.to,
            attempt: report.attempt,
            attempts: self.rules().schedule.attempts(),
            took: result.attempt.took,
            status: result.attempt.status,
            error: result.attempt.error.as_deref(),
            forbidden_address: result.end == AttemptEnd::ForbiddenAddress,
            next,
            now,
        });
    }

    /// Returns the route of the request that a report is about, if the store has this request. If the store fails, the
    /// operation is not repeated, because the route is needed only for the log.
    async fn route(&self, report: &ClaimedReport) -> Option<String> {
        let id: RequestId = report.subject.parse().ok()?;
        self.store.request(&id).await.ok().flatten().map(|record| record.route)
    }
}
