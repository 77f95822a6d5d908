//! Delivers stored reports: claims what is due, tries, settles.
//!
//! Invariant: every claimed report is either settled or put back, or its claim outlives the process and is voided by the
//! next owner of the store. A report may thus be sent twice, and is never lost.

mod attempt;
mod claim;
mod client;
mod dial;
mod history;
mod log;
mod one;
mod own;
pub(crate) mod thread;
mod trouble;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use ipnet::IpNet;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

pub(crate) use self::client::Error;
pub(crate) use self::dial::{Lookup, System};
use self::one::Courier;
use crate::policy::destination::Destinations;
use crate::policy::schedule::Schedule;
use crate::shutdown::Shutdown;
use crate::store::{ClaimedReport, Store};
use crate::time::Clock;

/// Reports that wait in memory for a free slot, besides those being tried. What exceeds it waits in the store.
const BACKLOG: usize = 1_024;
/// Beyond it one machine runs out of ports and files.
const MAX_CONCURRENCY: u32 = 65_536;

/// Checked values; see `settings`.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) schedule: Schedule,
    /// The longest that one try may take, from the first look-up to the last byte of the answer.
    pub(crate) timeout: Duration,
    /// Tries at once, at least 1.
    pub(crate) concurrency: usize,
    pub(crate) destinations: Destinations,
    /// Private networks that any webhook may go to.
    pub(crate) allow_networks: Vec<IpNet>,
    /// Certificates in PEM form that are trusted in addition to the system's.
    pub(crate) ca_file: Option<PathBuf>,
    /// Where we listen ourselves, and no webhook may go that is not trusted.
    pub(crate) own_addresses: Vec<SocketAddr>,
    /// Who turns names into addresses.
    pub(crate) resolver: Arc<dyn Lookup>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            schedule: Schedule::default(),
            timeout: Duration::from_secs(15),
            concurrency: 256,
            destinations: Destinations::default(),
            allow_networks: Vec::new(),
            ca_file: None,
            own_addresses: Vec::new(),
            resolver: Arc::new(System::default()),
        }
    }
}

/// The delivery of one process. It is talked to through the store alone.
pub(crate) struct Delivery {
    store: Store,
    clock: Clock,
    concurrency: u32,
    courier: Arc<Courier>,
}

/// A report in hand and, if the store handed it over in memory, the room that it takes up there until it is settled.
struct Work {
    report: ClaimedReport,
    room: Option<OwnedSemaphorePermit>,
}

impl Delivery {
    /// A delivery that has not begun. Loads certificates and builds the HTTP clients, which may fail.
    pub(crate) fn new(store: Store, clock: Clock, options: Options) -> Result<Self, Error> {
        let concurrency = u32::try_from(options.concurrency).unwrap_or(u32::MAX).clamp(1, MAX_CONCURRENCY);
        let courier = Arc::new(Courier::new(store.clone(), clock.clone(), options)?);
        Ok(Self { store, clock, concurrency, courier })
    }

    /// Delivers until told to stop. Then nothing more is claimed, the tries in flight come to their end, and what is in
    /// hand and was not tried is put back.
    pub(crate) async fn run(self, shutdown: Shutdown) {
        let concurrency = self.concurrency as usize;
        let slots = Arc::new(Semaphore::new(concurrency));
        let mut handed = self.store.attach_reports(Arc::new(Semaphore::new(concurrency + BACKLOG)));
        let (claims, mut claimed) = mpsc::channel(concurrency.min(BACKLOG));
        shutdown.spawn(claim::run(self.store.clone(), self.clock, claims, shutdown.clone()));

        while let Some(slot) = free_slot(&slots, &shutdown).await {
            let work = tokio::select! {
                () = shutdown.stopping() => break,
                // Unbiased: neither fresh reports nor retries keep the other ones waiting.
                Some(held) = handed.recv() => Work { report: held.row, room: Some(held.room) },
                Some(report) = claimed.recv() => Work { report, room: None },
            };
            shutdown.spawn(self.courier.clone().deliver(work, slot, shutdown.clone()));
        }

        handed.close();
        let mut untried = Vec::new();
        while let Some(held) = handed.recv().await {
            untried.push(held.row.claim);
        }
        // Ends when the claimer has: a claim under way is waited for, so that its rows get here.
        while let Some(report) = claimed.recv().await {
            untried.push(report.claim);
        }
        // At once, so that they go into one commit.
        join_all(untried.into_iter().map(|claim| self.courier.put_back(claim))).await;
        let _all_slots = slots.acquire_many(self.concurrency).await;
    }
}

/// A slot for one try; `None` when told to stop.
async fn free_slot(slots: &Arc<Semaphore>, shutdown: &Shutdown) -> Option<OwnedSemaphorePermit> {
    tokio::select! {
        biased;
        () = shutdown.stopping() => None,
        // Fails only on a closed semaphore, which this one never is.
        slot = slots.clone().acquire_owned() => slot.ok(),
    }
}

#[cfg(test)]
pub(crate) mod receiver;
#[cfg(test)]
mod tests;
