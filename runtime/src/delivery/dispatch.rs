//! The loop of the delivery: takes reports in, begins tries as the scheduler allows, and parks what has to wait elsewhere.
//!
//! Invariant: the loop waits for events alone, never for the store or the network. What takes time is a task, whose end is
//! an event; the channel of events holds as many as there can be, so that no task waits for the loop either.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use metrics::{counter, gauge};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use url::Url;

use super::claim;
use super::deliver::Deliverer;
use super::log::spoken;
use super::runners::Runners;
use super::scheduler::{Begun, Bounds, Claim, InHand, ParkReason, Scheduler};
use super::trouble::{Backoff, Trouble};
use crate::names::metric;
use crate::policy::breaker::{Change, Sign};
use crate::policy::turns::{Key, SinceStart};
use crate::shutdown::Shutdown;
use crate::store::{ClaimedReport, Error, PreClaimed, ReportClaim, Store, report_units};
use crate::time::Clock;
use crate::webhook::Shown;

/// Reports that are being parked, before no more are taken into memory.
const PARKING: usize = 1_024;
/// Origins with nothing to do that are remembered; each takes up some hundred bytes.
const IDLE: usize = 4_096;
/// Origins with parked reports that are known at once.
const PARKED: usize = 16_384;
/// Claimed reports that are on their way here. While anything waits in the store, whatever is posted has to wait behind it
/// and be claimed; so claims bring many at once, or that state would never end.
const CLAIMED: usize = 512;
/// Taken from one source before the others are looked at.
const AT_ONCE: usize = 64;

pub(super) fn bounds(backlog: usize) -> Bounds {
    Bounds { backlog, idle: IDLE, parked: PARKED }
}

/// A report in hand and, if the store handed it over in memory, the room that it takes up there until it is settled.
pub(super) struct Work {
    pub(super) report: ClaimedReport,
    pub(super) room: Option<OwnedSemaphorePermit>,
}

impl InHand for Work {
    fn units(&self) -> usize {
        report_units(&self.report)
    }

    fn url(&self) -> &str {
        let url = self.report.to.url();
        url.find(['?', '#']).map_or(url, |end| &url[..end])
    }
}

/// Room for one try. Dropped, it is free again, and what the try said about the origin is known.
pub(super) struct Slot {
    begun: Begun,
    sign: Sign,
    /// Which URL fails, without its query.
    url: Option<Box<str>>,
    took: Duration,
    events: mpsc::Sender<Event>,
}

impl Slot {
    /// Something was sent, or could not be.
    pub(super) fn tried(&mut self, sign: Sign, work: &Work, took: Duration) {
        (self.sign, self.took) = (sign, took);
        self.url = (sign == Sign::Fails).then(|| work.url().into());
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Self { begun, sign, took, .. } = *self;
        // Has room: there are no more slots than it holds. Fails only when the loop is gone.
        let _ = self.events.try_send(Event::Ended { begun, sign, url: self.url.take(), took });
    }
}

/// What a task has come to.
enum Event {
    Ended {
        begun: Begun,
        sign: Sign,
        url: Option<Box<str>>,
        took: Duration,
    },
    /// And whether it is committed.
    Parked(Vec<(Key, bool)>),
    /// And whether there is more; `None` if the claim failed.
    Claimed {
        key: Key,
        limit: usize,
        brought: Option<(Vec<Work>, bool)>,
    },
    Found(Vec<String>),
}

/// See the module.
pub(super) struct Dispatcher {
    store: Store,
    clock: Clock,
    deliverer: Arc<Deliverer>,
    runners: Runners,
    scheduler: Scheduler<Work>,
    concurrency: usize,
    shutdown: Shutdown,
    events: mpsc::Sender<Event>,
    ended: mpsc::Receiver<Event>,
    /// To be parked.
    aside: Vec<(Key, Work)>,
}

/// A report to be parked, under the line of its URL if it stood in that.
type ParkedReports = (Key, Option<Arc<str>>, Work);

impl Dispatcher {
    pub(super) fn new(
        store: Store,
        clock: Clock,
        deliverer: Arc<Deliverer>,
        scheduler: Scheduler<Work>,
        concurrency: usize,
        shutdown: Shutdown,
    ) -> Self {
        // One for each slot and each report that is being parked, of which there are less than twice the backlog and what
        // is taken at once, and some for claims.
        let (events, ended) = mpsc::channel(concurrency + 3 * scheduler.backlog());
        let runners = Runners::new(deliverer.clone(), shutdown.clone());
        Self { store, clock, deliverer, runners, scheduler, concurrency, shutdown, events, ended, aside: Vec::new() }
    }

    /// Until told to stop; then the tries in flight come to their end, and what is in hand and was not tried is put back.
    pub(super) async fn run(mut self) {
        let mut handed =
            self.store.attach_reports(Arc::new(Semaphore::new(self.concurrency + self.scheduler.backlog())));
        let (claims, mut claimed) = mpsc::channel(CLAIMED);
        self.shutdown.spawn(claim::run(self.store.clone(), self.clock.clone(), claims, self.shutdown.clone()));
        self.find_parked();
        let stop = self.shutdown.clone();
        let (mut events, mut held, mut due) = (Vec::new(), Vec::new(), Vec::new());
        loop {
            let now = self.clock.elapsed();
            let alarm = self.scheduler.alarm().map(|at| at.saturating_sub(now));
            // More than this is not taken into memory while the store does not take it.
            let has_room = self.scheduler.parking() < PARKING;
            tokio::select! {
                () = stop.stopping() => break,
                // Unbiased: neither fresh reports nor retries keep the other ones waiting.
                Some(_) = some(self.ended.recv_many(&mut events, AT_ONCE)) => {}
                Some(_) = some(handed.recv_many(&mut held, AT_ONCE)), if has_room => {}
                Some(_) = some(claimed.recv_many(&mut due, AT_ONCE)), if has_room => {}
                () = tokio::time::sleep(alarm.unwrap_or_default()), if alarm.is_some() => {}
            }
            let now = self.clock.elapsed();
            events.drain(..).for_each(|event| self.learn(event, now));
            held.drain(..).for_each(|PreClaimed { row, room }| self.take(Work { report: row, room: Some(room) }, now));
            due.drain(..).for_each(|report| self.take(Work { report, room: None }, now));
            self.scheduler.wake(now);
            self.go_on(now);
        }
        self.stop(handed, claimed).await;
    }

    async fn stop(
        mut self,
        mut handed: mpsc::Receiver<PreClaimed<ClaimedReport>>,
        mut claimed: mpsc::Receiver<ClaimedReport>,
    ) {
        handed.close();
        self.runners.dismiss();
        let mut untried: Vec<Work> = self.scheduler.clear();
        while let Some(PreClaimed { row, room }) = handed.recv().await {
            untried.push(Work { report: row, room: Some(room) });
        }
        // Ends when the claimer has: a claim under way is waited for, so that its rows get here.
        while let Some(report) = claimed.recv().await {
            untried.push(Work { report, room: None });
        }
        let now = self.clock.elapsed();
        while self.scheduler.claims() > 0
            && let Some(event) = self.ended.recv().await
        {
            self.learn(event, now);
            untried.extend(self.scheduler.clear());
            untried.extend(self.aside.drain(..).map(|(_, work)| work));
        }
        // At once, so that they go into one commit.
        join_all(untried.into_iter().map(|work| self.deliverer.put_back(work.report.claim))).await;
        while self.scheduler.in_flight() > 0
            && let Some(event) = self.ended.recv().await
        {
            self.learn(event, now);
        }
    }

    fn take(&mut self, work: Work, now: SinceStart) {
        let key = self.scheduler.key(work.report.to.origin(), work.url());
        if let Some((work, why)) = self.scheduler.take(key, work, now) {
            count_parked(why, 1);
            self.aside.push((key, work));
        }
    }

    fn learn(&mut self, event: Event, now: SinceStart) {
        match event {
            Event::Ended { begun, sign, url, took } => {
                let Some(end) = self.scheduler.ended(begun, sign, url.as_deref(), took, now) else { return };
                count_parked(ParkReason::Breaker, end.aside.len());
                self.aside.extend(end.aside);
                for (line, change) in end.changes {
                    tell(&line, change, now);
                }
            }
            Event::Parked(parked) => {
                for (key, committed) in parked {
                    self.scheduler.parked(key, committed, now);
                }
            }
            Event::Claimed { key, limit, brought } => {
                let aside = self.scheduler.claimed(key, limit, brought, now);
                count_parked(ParkReason::Breaker, aside.len());
                self.aside.extend(aside);
            }
            Event::Found(origins) => self.scheduler.found(origins, now),
        }
    }

    /// Begins all that may be begun.
    fn go_on(&mut self, now: SinceStart) {
        while let Some((begun, work)) = self.scheduler.next(now) {
            let (sign, took) = (Sign::Nothing, Duration::ZERO);
            let slot = Slot { begun, sign, url: None, took, events: self.events.clone() };
            self.runners.run(work, slot);
        }
        while let Some(claim) = self.scheduler.claim(now) {
            self.shutdown.spawn(claim_parked(self.store.clone(), claim, self.events.clone()));
        }
        if !self.aside.is_empty() {
            let aside = std::mem::take(&mut self.aside).into_iter();
            let aside = aside.map(|(key, work)| (key, self.scheduler.url_of(key), work)).collect();
            self.shutdown.spawn(park(self.deliverer.clone(), aside, self.events.clone(), self.shutdown.clone()));
        }
        if self.scheduler.wants_to_know() {
            self.find_parked();
        }
        gauge!(metric::DELIVERIES_IN_FLIGHT).set(gauged(self.scheduler.in_flight()));
        gauge!(metric::DELIVERIES_WAITING).set(gauged(self.scheduler.waiting()));
        gauge!(metric::BREAKERS_OPEN).set(gauged(self.scheduler.open()));
    }

    fn find_parked(&self) {
        self.shutdown.spawn(find_parked(self.store.clone(), self.events.clone(), self.shutdown.clone()));
    }
}

/// `None` from a closed channel, so that it is not asked again and again.
async fn some(received: impl Future<Output = usize>) -> Option<usize> {
    Some(received.await).filter(|n| *n > 0)
}

async fn park(deliverer: Arc<Deliverer>, aside: Vec<ParkedReports>, events: mpsc::Sender<Event>, stop: Shutdown) {
    // At once, so that they go into one commit.
    let parked = join_all(aside.into_iter().map(async |(key, line, work)| {
        let Work { report, room } = work;
        // Without its body, which may be large; the room is free when the report is out of hand.
        let claim: ReportClaim = report.claim;
        let committed = deliverer.park(claim, line, &stop).await;
        drop(room);
        (key, committed)
    }));
    // Fails only when the loop is gone.
    let _ = events.send(Event::Parked(parked.await)).await;
}

async fn claim_parked(store: Store, claim: Claim, events: mpsc::Sender<Event>) {
    let Claim { key, line, limit } = claim;
    let batch = store.claim_parked(&line, limit).await;
    let brought = batch.ok().map(|batch| {
        counter!(metric::DELIVERIES_UNPARKED).increment(batch.rows.len() as u64);
        let works = batch.rows.into_iter().map(|report| Work { report, room: None }).collect();
        (works, batch.next_due.is_some())
    });
    // Fails only when the loop is gone, which waits for this.
    let _ = events.send(Event::Claimed { key, limit, brought }).await;
}

/// Asks until it is told.
async fn find_parked(store: Store, events: mpsc::Sender<Event>, stop: Shutdown) {
    let trouble = Trouble::new("looking for parked reports");
    let mut backoff = Backoff::default();
    loop {
        match store.parked_origins().await {
            Ok(origins) => {
                trouble.over();
                // Fails only when the loop is gone.
                let _ = events.send(Event::Found(origins)).await;
                return;
            }
            Err(Error::Closed) => return,
            Err(error) => trouble.met(&error),
        };
        tokio::select! {
            () = stop.stopping() => return,
            () = tokio::time::sleep(backoff.pause()) => {}
        }
    }
}

/// Of an origin, or a URL of it.
fn tell(line: &str, change: Change, now: SinceStart) {
    let parsed = Url::parse(line).ok();
    let shown =
        parsed.as_ref().filter(|url| !line.is_empty() && url.as_str() == line).map(|url| Shown(url).to_string());
    let origin = shown.as_deref().unwrap_or(line);
    match change {
        Change::Opened { failed, tries, until } => {
            let pause = spoken(until.saturating_sub(now));
            counter!(metric::BREAKER_OPENED).increment(1);
            tracing::warn!(
                origin,
                failed,
                tries,
                "{origin} fails: {failed} of its last {tries} tries did; its reports wait now, and single ones find out \
                 when it works again, the first in {pause}"
            );
        }
        Change::Extended { until } => {
            let pause = spoken(until.saturating_sub(now));
            tracing::debug!(origin, "{origin} still fails; the next single try is in {pause}");
        }
        Change::Closed => tracing::info!(origin, "{origin} works again; its reports go out"),
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

fn gauged(n: usize) -> f64 {
    // Invariant: all that is gauged is bounded by far less.
    f64::from(u32::try_from(n).unwrap_or(u32::MAX))
}
