//! One claimed report: tried once, settled, told.

use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, histogram};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::Options;
use super::attempt::{Attempted, Sender};
use super::client::Error;
use super::dispatch::{Slot, Work};
use super::log::{self, AttemptLine, Log};
use super::probes::{self, Probes};
use super::refused::Refused;
use super::shortage::Shortage;
use super::trouble::{Backoff, Trouble};
use crate::id::RequestId;
use crate::names::metric;
use crate::policy::after_attempt::{AttemptEnd, Next, judge};
use crate::policy::breaker::Sign;
use crate::policy::destination::Destinations;
use crate::policy::schedule::Schedule;
use crate::shutdown::Shutdown;
use crate::store::{self, Attempt, ClaimedReport, ReportClaim, Settled, Store};
use crate::time::{Clock, Timestamp};
use crate::webhook::Target;

/// How long a failing store is asked again when stopping. The claim of what is not settled then is voided by the next
/// owner, and the report sent again.
const PATIENCE_AT_STOP: Duration = Duration::from_secs(10);
/// Attempted reports that wait for their commit at once, of those that were claimed. Others hold their room until then.
const SETTLING: usize = 4_096;
/// How long what could not be tried waits, and up to as long again, so that not all of it comes back at once.
const PUT_OFF: Duration = Duration::from_secs(5);
/// How long a slot rests when this machine has run short of what every try needs.
const BREATH: Duration = Duration::from_millis(500);

/// Takes reports out, one at a time.
pub(super) struct Deliverer {
    store: Store,
    clock: Clock,
    schedule: Schedule,
    destinations: Destinations,
    sender: Sender,
    log: Log,
    trouble: Trouble,
    settling: Semaphore,
    probes: Probes,
    refused: Refused,
}

impl Deliverer {
    pub(super) fn new(store: Store, clock: Clock, options: Options) -> Result<Self, Error> {
        let sender = Sender::new(&options, clock.clone())?;
        let Options { schedule, destinations, .. } = options;
        let trouble = Trouble::new("recording deliveries");
        Ok(Self {
            store,
            clock,
            schedule,
            destinations,
            sender,
            log: Log::default(),
            trouble,
            settling: Semaphore::new(SETTLING),
            probes: Probes::default(),
            refused: Refused::default(),
        })
    }

    /// Tries a report and settles it. The slot is free again when it is attempted, so that a slow disk holds up no try; the room
    /// when it is settled, so that what waits for the disk is bounded.
    pub(super) async fn deliver(&self, work: Work, mut slot: Slot, shutdown: &Shutdown) {
        let Work { report, .. } = &work;
        let disabled = self.store.is_disabled(report.to.url());
        if disabled && !(self.is_trusted(report) && self.probes.begin(report.to.url(), self.clock.elapsed())) {
            self.hold(report.claim.clone(), shutdown).await;
            return;
        }
        // What the operator's own reports may reach says nothing of these.
        let withheld = report.to.webhook().is_ok_and(|webhook| self.destinations.withholds_from(webhook));
        if withheld {
            self.log.log_withheld(&report.to);
        }
        let attempted = match report.to.webhook() {
            Ok(webhook) => {
                let standing = self.destinations.standing(webhook);
                self.sender.send(report.webhook_id, webhook, &standing, report.body.clone()).await
            }
            Err(error) => Attempted::refused(self.clock.now(), error),
        };
        let now = self.clock.now();
        if let Some(shortage) = attempted.shortage {
            self.put_off(&work, shortage, attempted.attempt.error.as_deref(), now, shutdown).await;
            return;
        }
        if attempted.unprocessed
            && let Some(pause) = self.refused.pause(report.claim.id, report.attempt)
        {
            slot.tried(Sign::of(None, attempted.connected), &work, attempted.attempt.took);
            drop(slot);
            self.try_again_free(&work, &attempted, pause, now, shutdown).await;
            return;
        }
        if !attempted.unprocessed {
            self.refused.forget(report.claim.id);
        }
        let next = judge(attempted.end, report.attempt, &self.schedule, now, &mut rand::rng());
        count_attempt(&attempted);
        // A receiver may answer 410 to all that is not signed. That must not end the operator's own reports to this URL.
        let next = if withheld { next.without_disabling() } else { next };
        let newly_disabled = next.disables() && !self.store.is_disabled(report.to.url());
        if disabled && matches!(next, Next::Gone { disable: true }) {
            // It finds out the next time, too.
            log::log_still_disabled(&report.to, attempted.attempt.error.as_deref());
            self.hold(report.claim.clone(), shutdown).await;
            return;
        }
        if newly_disabled && self.is_trusted(report) {
            // Before it is committed: the next one to come is no probe.
            self.probes.disabled(report.to.url(), self.clock.elapsed());
        }
        if attempted.end != AttemptEnd::Refused {
            slot.tried(Sign::of(attempted.attempt.status, attempted.connected), &work, attempted.attempt.took);
        }
        // Never closed. Those that wait for it keep their slots.
        let settling = if work.room.is_none() { self.settling.acquire().await.ok() } else { None };
        drop(slot);
        let settled = self.settle(report.claim.clone(), &attempted.attempt, next, shutdown).await;
        if settled == Some(Settled::Current) {
            count_end(next, now.since(report.created));
        }
        self.log_attempt(report, &attempted, next, now).await;
        if newly_disabled && settled == Some(Settled::Current) {
            log::log_disabled(&report.to, attempted.attempt.error.as_deref(), self.is_trusted(report));
        }
        if disabled && next == Next::Delivered {
            self.enable(report.to.url(), &report.to).await;
        }
        drop((settling, work));
    }

    /// Finds out once a day whether trusted receivers that wanted no more still say so.
    pub(super) async fn probe_disabled(&self, stop: Shutdown) {
        probes::run(self.store.clone(), self.clock.clone(), self.destinations.clone(), &self.probes, stop).await;
    }

    fn is_trusted(&self, report: &ClaimedReport) -> bool {
        report.to.webhook().is_ok_and(|webhook| self.destinations.trusts(webhook))
    }

    /// The receiver takes reports again. Asked once: should it fail, the next probe does it.
    async fn enable(&self, url: &str, to: &Target) {
        match self.store.enable(url).await {
            Ok(reports) => {
                self.probes.enabled(url);
                log::log_enabled(to, reports);
            }
            Err(store::Error::Closed) => {}
            Err(error) => {
                self.trouble.met(&error);
            }
        }
    }

    /// Puts a report back that could not be tried for want of something on this machine. No attempt is used up.
    async fn put_off(&self, work: &Work, shortage: Shortage, why: Option<&str>, now: Timestamp, stop: &Shutdown) {
        counter!(metric::ATTEMPTS_PUT_OFF, "reason" => shortage.word()).increment(1);
        self.log.log_put_off(shortage, why.unwrap_or_default(), now);
        if shortage.is_all_of_us() {
            // The slot is kept meanwhile: the next try would fare no better.
            tokio::select! {
                () = stop.stopping() => {}
                () = tokio::time::sleep(BREATH) => {}
            }
        }
        let due = now.saturating_add(PUT_OFF + rand::random_range(Duration::ZERO..PUT_OFF));
        self.persist(stop, || self.store.put_back_report_until(work.report.claim.clone(), due)).await;
    }

    /// Puts a report back of which the receiver says that it has processed nothing. No attempt is used up.
    async fn try_again_free(
        &self,
        work: &Work,
        attempted: &Attempted,
        pause: Duration,
        now: Timestamp,
        stop: &Shutdown,
    ) {
        counter!(metric::ATTEMPTS_PUT_OFF, "reason" => "not_processed").increment(1);
        let why = attempted.attempt.error.as_deref().unwrap_or_default();
        self.log.log_unprocessed(&work.report, why, pause, now);
        let due = now.saturating_add(pause + rand::random_range(Duration::ZERO..=pause / 5));
        self.persist(stop, || self.store.put_back_report_until(work.report.claim.clone(), due)).await;
    }

    /// Puts back what was claimed and not attempted. Asked once: should it fail, the next owner voids the claim.
    pub(super) async fn put_back(&self, claim: ReportClaim) {
        match self.store.put_back_report(claim).await {
            Ok(_) | Err(store::Error::Closed) => {}
            Err(error) => {
                self.trouble.met(&error);
            }
        }
    }

    /// Sets aside what was claimed and is not wanted, until its URL is enabled.
    async fn hold(&self, claim: ReportClaim, stop: &Shutdown) {
        self.persist(stop, || self.store.hold_report(claim.clone())).await;
    }

    /// Parks what was claimed and not attempted; whether that is committed.
    pub(super) async fn park(&self, claim: ReportClaim, line: Option<Arc<str>>, stop: &Shutdown) -> bool {
        let parked = match line {
            Some(line) => self.persist(stop, || self.store.park_report_under(claim.clone(), line.clone())).await,
            None => self.persist(stop, || self.store.park_report(claim.clone())).await,
        };
        parked.is_some()
    }

    async fn settle(&self, claim: ReportClaim, attempt: &Attempt, next: Next, stop: &Shutdown) -> Option<Settled> {
        self.persist(stop, || self.store.settle_report(claim.clone(), attempt.clone(), next)).await
    }

    /// `None`: the store is closed, or it failed for so long after the stop that the claim was left to the next owner.
    async fn persist<F>(&self, stop: &Shutdown, operation: impl Fn() -> F) -> Option<Settled>
    where
        F: Future<Output = Result<Settled, store::Error>>,
    {
        let mut backoff = Backoff::default();
        let mut stopping_since = None;
        loop {
            match operation().await {
                Ok(settled) => {
                    self.trouble.over();
                    return Some(settled);
                }
                Err(store::Error::Closed) => return None,
                Err(error) => {
                    self.trouble.met(&error);
                    if stop.is_stopping()
                        && stopping_since.get_or_insert_with(Instant::now).elapsed() >= PATIENCE_AT_STOP
                    {
                        return None;
                    }
                    tokio::time::sleep(backoff.pause()).await;
                }
            }
        }
    }

    async fn log_attempt(&self, report: &ClaimedReport, attempted: &Attempted, next: Next, now: Timestamp) {
        let looked_up = match next {
            Next::Dead | Next::Gone { .. } if report.route().is_none() => self.route(report).await,
            _ => None,
        };
        self.log.attempt(&AttemptLine {
            webhook_id: report.webhook_id,
            // What the end of a run comes to is told with the first try.
            note: report.note.as_deref().filter(|_| report.attempt <= 1),
            request_id: &report.subject,
            route: report.route().or(looked_up.as_deref()),
            to: &report.to,
            attempt: report.attempt,
            attempts: self.schedule.attempts(),
            took: attempted.attempt.took,
            status: attempted.attempt.status,
            error: attempted.attempt.error.as_deref(),
            forbidden_address: attempted.end == AttemptEnd::ForbiddenAddress,
            next,
            now,
        });
    }

    /// The route of the request that a report speaks of, if there is such a request. Asked once: it is for the log alone.
    async fn route(&self, report: &ClaimedReport) -> Option<String> {
        let id: RequestId = report.subject.parse().ok()?;
        self.store.request(&id).await.ok().flatten().map(|record| record.route)
    }
}

fn count_attempt(attempted: &Attempted) {
    let result = match attempted.end {
        AttemptEnd::Answered(answer) if answer.is_success() => "delivered",
        AttemptEnd::Answered(_) | AttemptEnd::Failed => "failed",
        AttemptEnd::Refused | AttemptEnd::ForbiddenAddress | AttemptEnd::NotMade => "refused",
    };
    counter!(metric::ATTEMPTS, "result" => result).increment(1);
    if result != "refused" {
        histogram!(metric::ATTEMPT_SECONDS).record(attempted.attempt.took.as_secs_f64());
    }
}

fn count_end(next: Next, age: Duration) {
    let state = match next {
        Next::Delivered | Next::DeliveredLast => "delivered",
        Next::Gone { .. } => "gone",
        Next::Dead => "dead",
        Next::Refused => "refused",
        Next::RetryAt(_) => return,
    };
    counter!(metric::DELIVERIES_FINISHED, "state" => state).increment(1);
    if state == "delivered" {
        histogram!(metric::DELIVERY_SECONDS).record(age.as_secs_f64());
    }
}
