//! The loop of the delivery. The loop takes reports into memory, starts attempts when the scheduler allows it, and
//! parks the reports that have to wait in the store.
//!
//! Invariant: the loop waits only for events, never for the store or the network. Each operation that takes time runs
//! in a task, and the task sends an event when it ends. The channel of events has space for all possible events, so no
//! task waits for the loop either.

use futures_util::future::join_all;
use metrics::{counter, gauge};
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc};
use url::Url;

use super::MAX_CONCURRENCY;
use super::attempt_tasks::AttemptTasks;
use super::claim;
use super::control::Order;
use super::deliver::Deliverer;
use super::event::{Event, Slot};
use super::failure_log::{FailureLog, store_backoff};
use super::log::spoken;
#[cfg(feature = "server")]
use super::progress::ProgressOrder;
use super::scheduler::{Bounds, Claim, ParkReason, Schedulable as _, Scheduler};
use super::work::Work;
use crate::policy::breaker::Change;
use crate::policy::turns::{Key, Limits, SinceStart};
use postback_store::shutdown::Shutdown;
use postback_store::{ClaimedReport, Error, PreClaimed, Store};
use postback_wire::names::metric;
use postback_wire::time::Clock;
use postback_wire::webhook::Shown;
#[cfg(feature = "server")]
use postback_wire::webhook::origin_of;

/// While this many reports are being parked, the loop takes no more reports into memory.
const MAX_PARKING: usize = 1_024;
/// The largest number of idle queues that the scheduler remembers. Each queue uses some hundred bytes.
const MAX_IDLE: usize = 4_096;
/// The largest number of queues with parked reports that the scheduler knows at the same time.
const MAX_PARKED: usize = 16_384;
/// The largest number of claimed reports that wait in the channel to the loop. The number is large, so that one claim
/// returns many reports. While reports wait in the store, every new report must be stored and claimed after them. With
/// small claims, the delivery might never catch up with the new reports.
const MAX_CLAIMED: usize = 512;
/// The largest number of items that the loop takes from one channel before it reads the other channels.
const MAX_PER_SOURCE: usize = 64;

pub(super) fn bounds(backlog: usize) -> Bounds {
    Bounds { backlog, idle: MAX_IDLE, parked: MAX_PARKED }
}

/// The main loop of the delivery, with its state. The loop takes reports into memory, starts attempts, and parks
/// reports.
pub(super) struct Dispatcher {
    store: Store,
    clock: Clock,
    deliverer: Arc<Deliverer>,
    attempt_tasks: AttemptTasks,
    scheduler: Scheduler<Work>,
    concurrency: usize,
    shutdown: Shutdown,
    events: mpsc::Sender<Event>,
    ended: mpsc::Receiver<Event>,
    /// The reports that the loop parks next.
    to_park: Vec<(Key, Work)>,
}

/// A report that the loop parks. If the report waited in the queue of its URL, the second field is this URL. Otherwise
/// the second field is `None`.
type ReportToPark = (Key, Option<Arc<str>>, Work);

impl Dispatcher {
    pub(super) fn new(
        store: Store,
        clock: Clock,
        deliverer: Arc<Deliverer>,
        scheduler: Scheduler<Work>,
        concurrency: usize,
        shutdown: Shutdown,
    ) -> Self {
        // The channel has space for one event of each slot that the options may ever ask for, of each report that is being parked, and of each claim. The
        // number of reports that are being parked is less than twice the backlog plus the number of reports that the
        // loop takes in one turn.
        let (events, ended) = mpsc::channel(MAX_CONCURRENCY + 3 * scheduler.backlog());
        let attempt_tasks = AttemptTasks::new(deliverer.clone(), shutdown.clone());
        Self {
            store,
            clock,
            deliverer,
            attempt_tasks,
            scheduler,
            concurrency,
            shutdown,
            events,
            ended,
            to_park: Vec::new(),
        }
    }

    /// Delivers reports until the shutdown begins. Then waits for the attempts in flight, and puts the other reports in
    /// memory back into the store.
    pub(super) async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        let mut pre_claimed =
            self.store.attach_reports(Arc::new(Semaphore::new(self.concurrency + self.scheduler.backlog())));
        let (claims, mut claimed) = mpsc::channel(MAX_CLAIMED);
        self.shutdown.spawn(claim::run(self.store.clone(), self.clock.clone(), claims, self.shutdown.clone()));
        self.find_parked();
        let stop = self.shutdown.clone();
        let (mut events, mut handed_over, mut due) = (Vec::new(), Vec::new(), Vec::new());
        loop {
            let now = self.clock.elapsed();
            let alarm = self.scheduler.alarm().map(|at| at.saturating_sub(now));
            // If too many reports are being parked, the loop takes no more reports into memory.
            let has_room = self.scheduler.parking() < MAX_PARKING;
            tokio::select! {
                () = stop.stopping() => break,
                // `select!` is not `biased`. So if one channel always has items, the loop still reads the other
                // channels.
                Some(_) = not_closed(self.ended.recv_many(&mut events, MAX_PER_SOURCE)) => {}
                Some(_) = not_closed(pre_claimed.recv_many(&mut handed_over, MAX_PER_SOURCE)), if has_room => {}
                Some(_) = not_closed(claimed.recv_many(&mut due, MAX_PER_SOURCE)), if has_room => {}
                Some(order) = orders.recv() => self.answer(order, now),
                // A node that has ended may have parked reports.
                () = self.store.taken_over() => self.find_parked(),
                () = tokio::time::sleep(alarm.unwrap_or_default()), if alarm.is_some() => {}
            }
            let now = self.clock.elapsed();
            events.drain(..).for_each(|event| self.handle_event(event, now));
            handed_over
                .drain(..)
                .for_each(|PreClaimed { row, room }| self.accept(Work { report: row, room: Some(room) }, now));
            due.drain(..).for_each(|report| self.accept(Work { report, room: None }, now));
            self.scheduler.wake(now);
            self.start_what_may_start(now);
        }
        // The loop answers no more orders. Callers must learn this now, not when all attempts in flight have ended.
        drop(orders);
        self.stop(pre_claimed, claimed).await;
    }

    async fn stop(
        mut self,
        mut pre_claimed: mpsc::Receiver<PreClaimed<ClaimedReport>>,
        mut claimed: mpsc::Receiver<ClaimedReport>,
    ) {
        pre_claimed.close();
        self.attempt_tasks.end_idle_tasks();
        let mut not_attempted: Vec<Work> = self.scheduler.clear();
        while let Some(PreClaimed { row, room }) = pre_claimed.recv().await {
            not_attempted.push(Work { report: row, room: Some(room) });
        }
        // The channel closes when the task that claims reports ends. This task waits for the end of its last claim, so
        // all reports of the last claim are received here.
        while let Some(report) = claimed.recv().await {
            not_attempted.push(Work { report, room: None });
        }
        let now = self.clock.elapsed();
        while self.scheduler.claims() > 0
            && let Some(event) = self.ended.recv().await
        {
            self.handle_event(event, now);
            not_attempted.extend(self.scheduler.clear());
            not_attempted.extend(self.to_park.drain(..).map(|(_, work)| work));
        }
        // All these reports are put back at the same time, so that one commit contains many of them.
        join_all(not_attempted.into_iter().map(|work| self.deliverer.put_back(work.report.claim))).await;
        while self.scheduler.in_flight() > 0
            && let Some(event) = self.ended.recv().await
        {
            self.handle_event(event, now);
        }
    }

    fn answer(&mut self, order: Order, now: SinceStart) {
        match order {
            Order::Replace(options) => {
                let limits = Limits::new(options.concurrency.clamp(1, MAX_CONCURRENCY), options.per_origin);
                self.scheduler.set_limits(limits, options.own_concurrency.clone(), now);
                self.deliverer.replace(&options);
            }
            #[cfg(feature = "server")]
            Order::Progress(order) => self.send_progress(*order, now),
            // Sending fails only if the caller has gone.
            Order::Circuits(answer) => drop(answer.send(self.scheduler.circuits(now))),
        }
    }

    /// Starts an attempt to send a progress report, or answers that no attempt is made.
    #[cfg(feature = "server")]
    fn send_progress(&mut self, order: ProgressOrder, now: SinceStart) {
        if order.is_given_up() {
            return;
        }
        match self.scheduler.begin_at_once(origin_of(order.report.webhook.url()), order.url(), now) {
            Ok(attempt) => {
                let (slot, stop) = (Slot::new(attempt, self.events.clone()), self.shutdown.clone());
                let deliverer = Arc::clone(&self.deliverer);
                self.shutdown.spawn(async move { deliverer.send_progress(order, slot, &stop).await });
            }
            Err(why) => order.withhold(why),
        }
    }

    fn accept(&mut self, work: Work, now: SinceStart) {
        let key = self.scheduler.key(work.report.to.origin(), work.url());
        if let Some((work, reason)) = self.scheduler.take(key, work, now) {
            count_parked(reason, 1);
            self.to_park.push((key, work));
        }
    }

    fn handle_event(&mut self, event: Event, now: SinceStart) {
        match event {
            Event::Ended { attempt, health, failed_url, took } => {
                let ended = self.scheduler.ended(attempt, health, failed_url.as_deref(), took, now);
                let Some(effects) = ended else { return };
                count_parked(ParkReason::Breaker, effects.to_park.len());
                self.to_park.extend(effects.to_park);
                for (name, change) in effects.changes {
                    log_change(&name, change, now);
                }
            }
            Event::Parked(parked) => {
                for (key, committed) in parked {
                    self.scheduler.parked(key, committed, now);
                }
            }
            Event::Claimed { key, limit, claimed } => {
                let to_park = self.scheduler.claimed(key, limit, claimed, now);
                count_parked(ParkReason::Breaker, to_park.len());
                self.to_park.extend(to_park);
            }
            Event::FoundParked(origins) => self.scheduler.found(origins, now),
        }
    }

    /// Starts every attempt, claim and parking that may start now.
    fn start_what_may_start(&mut self, now: SinceStart) {
        while let Some((attempt, work)) = self.scheduler.next(now) {
            self.attempt_tasks.start(work, Slot::new(attempt, self.events.clone()));
        }
        while let Some(claim) = self.scheduler.claim(now) {
            self.shutdown.spawn(claim_parked(self.store.clone(), claim, self.events.clone()));
        }
        if !self.to_park.is_empty() {
            let to_park = std::mem::take(&mut self.to_park).into_iter();
            let to_park = to_park.map(|(key, work)| (key, self.scheduler.url_of(key), work)).collect();
            self.shutdown.spawn(park(self.deliverer.clone(), to_park, self.events.clone(), self.shutdown.clone()));
        }
        if self.scheduler.needs_parked_search() {
            self.find_parked();
        }
        gauge!(metric::DELIVERIES_IN_FLIGHT).set(as_gauge(self.scheduler.in_flight()));
        gauge!(metric::DELIVERIES_WAITING).set(as_gauge(self.scheduler.waiting()));
        gauge!(metric::BREAKERS_OPEN).set(as_gauge(self.scheduler.open()));
    }

    fn find_parked(&self) {
        self.shutdown.spawn(find_parked(self.store.clone(), self.events.clone(), self.shutdown.clone()));
    }
}

/// Returns `None` if the channel is closed. A closed channel returns 0 at each poll, so without this function `select!`
/// would poll the closed channel without end.
async fn not_closed(received: impl Future<Output = usize>) -> Option<usize> {
    Some(received.await).filter(|n| *n > 0)
}

async fn park(deliverer: Arc<Deliverer>, to_park: Vec<ReportToPark>, events: mpsc::Sender<Event>, stop: Shutdown) {
    // All these reports are parked at the same time, so that one commit contains many of them.
    let parked = join_all(to_park.into_iter().map(async |(key, url, work)| {
        let Work { report, room } = work;
        // Only the claim is needed. The body, which may be large, is dropped here.
        let claim = report.claim;
        let committed = deliverer.park(claim, url, &stop).await;
        drop(room);
        (key, committed)
    }));
    // Sending fails only if the loop has ended.
    let _ = events.send(Event::Parked(parked.await)).await;
}

async fn claim_parked(store: Store, claim: Claim, events: mpsc::Sender<Event>) {
    let Claim { key, queue_name, limit } = claim;
    let batch = store.claim_parked(&queue_name, limit).await;
    let claimed = batch.ok().map(|batch| {
        counter!(metric::DELIVERIES_UNPARKED).increment(batch.rows.len() as u64);
        let works = batch.rows.into_iter().map(|report| Work { report, room: None }).collect();
        (works, batch.next_due.is_some())
    });
    // Sending fails only if the loop has ended. The loop does not end before it has received this event.
    let _ = events.send(Event::Claimed { key, limit, claimed }).await;
}

/// Asks the store which origins and URLs have parked reports. If the store fails, asks again until the store answers.
async fn find_parked(store: Store, events: mpsc::Sender<Event>, stop: Shutdown) {
    let failures = FailureLog::new("looking for parked reports");
    let mut backoff = store_backoff();
    loop {
        match store.parked_origins().await {
            Ok(origins) => {
                failures.succeeded();
                // Sending fails only if the loop has ended.
                let _ = events.send(Event::FoundParked(origins)).await;
                return;
            }
            Err(Error::Closed) => return,
            Err(error) => failures.failed(&error),
        };
        tokio::select! {
            () = stop.stopping() => return,
            () = tokio::time::sleep(backoff.pause()) => {}
        }
    }
}

/// Logs that the circuit of an origin or of a URL has opened, has stayed open after a test, or has closed.
fn log_change(name: &str, change: Change, now: SinceStart) {
    let parsed = Url::parse(name).ok();
    let shown =
        parsed.as_ref().filter(|url| !name.is_empty() && url.as_str() == name).map(|url| Shown(url).to_string());
    let origin = shown.as_deref().unwrap_or(name);
    match change {
        Change::Opened { failed, attempts, until } => {
            let pause = spoken(until.saturating_sub(now));
            counter!(metric::BREAKER_OPENED).increment(1);
            tracing::warn!(
                origin,
                failed,
                attempts,
                "circuit of {origin} opened: {failed} of its last {attempts} attempts failed; its reports wait, and single \
                 attempts test it, the first in {pause}"
            );
        }
        Change::Extended { until } => {
            let pause = spoken(until.saturating_sub(now));
            tracing::debug!(
                origin,
                "circuit of {origin} stays open: the test failed; the next single attempt is in {pause}"
            );
        }
        Change::Closed => {
            tracing::info!(origin, "circuit of {origin} closed: the receiver works again, and its reports are sent");
        }
    }
}

fn count_parked(reason: ParkReason, reports: usize) {
    let reason = match reason {
        ParkReason::Breaker => "breaker",
        ParkReason::Share => "share",
    };
    if reports > 0 {
        counter!(metric::DELIVERIES_PARKED, "reason" => reason).increment(reports as u64);
    }
}

fn as_gauge(n: usize) -> f64 {
    // Invariant: all numbers that are shown as gauges have limits far below `u32::MAX`.
    f64::from(u32::try_from(n).unwrap_or(u32::MAX))
}
