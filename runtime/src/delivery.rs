//! Delivers stored reports: claims what is due, tries, settles.
//!
//! Invariant: every claimed report is either settled or put back, or its claim outlives the process and is voided by
//! the next owner of the store. A report may thus be sent twice, and is never lost.

mod attempt;
mod attempt_tasks;
mod claim;
mod client;
mod connect;
mod connections;
mod deliver;
mod dial;
mod dispatch;
mod event;
mod failure_log;
mod free_retries;
mod log;
mod lookup;
mod own_addresses;
mod probes;
mod raw_answer;
mod scheduler;
mod shortage;
mod tls;
mod work;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

pub(crate) use self::client::Error;
use self::deliver::Deliverer;
use self::dispatch::Dispatcher;
pub(crate) use self::lookup::{Lookup, System};
use self::scheduler::Scheduler;
use self::work::Work;
use crate::policy::destination::Destinations;
use crate::policy::guard::{Guard, Nat64};
use crate::policy::schedule::Schedule;
use crate::policy::turns::Limits;
use crate::shutdown::Shutdown;
use crate::store::{REPORT_UNIT, Store};
use crate::time::Clock;

/// Beyond it one machine runs out of ports and files.
const MAX_CONCURRENCY: usize = 65_536;

/// 64 MiB.
const BACKLOG: usize = (64 << 20) / REPORT_UNIT;

/// Checked values; see `settings`.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) schedule: Schedule,
    /// The longest that one try may take, from the first look-up to the last byte of the answer.
    pub(crate) timeout: Duration,
    /// Tries at once, at least 1.
    pub(crate) concurrency: usize,
    /// Connections at once, to all hosts together, idle ones included; if nothing is said, twice as many as tries.
    pub(crate) connections: Option<usize>,
    /// What waits in memory, besides what is being tried, in [units](crate::store::REPORT_UNIT). What exceeds it waits
    /// in the store.
    pub(crate) backlog: usize,
    /// Tries at once to one origin, while others have something to send.
    pub(crate) per_origin: usize,
    /// The same for single origins, named by scheme, host and port; these are never exceeded.
    pub(crate) own_concurrency: HashMap<String, usize>,
    pub(crate) destinations: Destinations,
    /// Private networks that any webhook may go to.
    pub(crate) allow_networks: Vec<IpNet>,
    /// Networks that no webhook may go to.
    pub(crate) deny_networks: Vec<IpNet>,
    /// Prefixes of the site's NAT64.
    pub(crate) nat64_prefixes: Vec<Nat64>,
    /// Certificates in PEM form that are trusted in addition to the system's.
    pub(crate) ca_file: Option<PathBuf>,
    /// Where we listen ourselves, and no webhook may go that is not trusted.
    pub(crate) own_addresses: Vec<SocketAddr>,
    /// Who turns names into addresses.
    pub(crate) resolver: Arc<dyn Lookup>,
}

impl Options {
    /// What they say of addresses.
    pub(crate) fn guard(&self) -> Guard {
        let guard = Guard::new(self.allow_networks.clone());
        guard.deny(self.deny_networks.clone()).nat64(self.nat64_prefixes.clone())
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            schedule: Schedule::default(),
            timeout: Duration::from_secs(15),
            concurrency: 256,
            connections: None,
            backlog: BACKLOG,
            per_origin: 128,
            own_concurrency: HashMap::new(),
            destinations: Destinations::default(),
            allow_networks: Vec::new(),
            deny_networks: Vec::new(),
            nat64_prefixes: Vec::new(),
            ca_file: None,
            own_addresses: Vec::new(),
            resolver: Arc::new(System::default()),
        }
    }
}

impl Options {
    fn connections(&self) -> usize {
        self.connections.unwrap_or(self.concurrency.saturating_mul(2)).max(1)
    }
}

/// The delivery of one process. It is talked to through the store alone.
pub(crate) struct Delivery {
    store: Store,
    clock: Clock,
    concurrency: usize,
    scheduler: Scheduler<Work>,
    deliverer: Arc<Deliverer>,
}

impl Delivery {
    /// A delivery that has not begun. Loads certificates and builds the HTTP clients, which may fail.
    pub(crate) fn new(store: Store, clock: Clock, options: Options) -> Result<Self, Error> {
        let concurrency = options.concurrency.clamp(1, MAX_CONCURRENCY);
        let limits = Limits::new(concurrency, options.per_origin);
        let scheduler = Scheduler::new(limits, dispatch::bounds(options.backlog), options.own_concurrency.clone());
        let deliverer = Arc::new(Deliverer::new(store.clone(), clock.clone(), options)?);
        Ok(Self { store, clock, concurrency, scheduler, deliverer })
    }

    /// Delivers until told to stop. Then nothing more is claimed, the tries in flight come to their end, and what is in
    /// hand and was not tried is put back.
    pub(crate) async fn run(self, shutdown: Shutdown) {
        let Self { store, clock, concurrency, scheduler, deliverer } = self;
        let (of_probes, stop) = (deliverer.clone(), shutdown.clone());
        shutdown.spawn(async move { of_probes.probe_disabled(stop).await });
        Dispatcher::new(store, clock, deliverer, scheduler, concurrency, shutdown).run().await;
    }
}

#[cfg(test)]
pub(crate) mod receiver;
#[cfg(test)]
mod tests;
