//! Delivers stored reports: claims reports that are due, attempts them, and settles them.
//!
//! Invariant: every claimed report is settled, put back, parked or held. If the process ends first, the next owner of
//! the store voids the claim. So a report may be sent twice, but it is never lost.

mod attempt;
mod attempt_tasks;
mod claim;
mod client;
mod connect;
mod connections;
mod control;
mod deliver;
mod dial;
mod dispatch;
mod event;
#[cfg(feature = "server")]
mod exchange;
mod failure_log;
mod free_retries;
#[cfg(all(feature = "testing", feature = "server"))]
mod in_memory;
mod line;
mod log;
mod lookup;
mod own_addresses;
mod probes;
#[cfg(feature = "server")]
mod progress;
mod raw_answer;
mod scheduler;
mod shortage;
mod tls;
#[cfg(feature = "server")]
mod trial;
mod work;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::mpsc;

pub(crate) use self::client::Error;
#[cfg(feature = "server")]
pub(crate) use self::client::client_tls;
pub(crate) use self::control::Control;
use self::control::Order;
use self::deliver::Deliverer;
use self::dispatch::Dispatcher;
#[cfg(feature = "server")]
pub(crate) use self::exchange::{ExchangeError, connector, exchange, host};
#[cfg(all(feature = "testing", feature = "server"))]
pub(crate) use self::in_memory::InMemory;
pub(crate) use self::lookup::{Lookup, System};
#[cfg(feature = "server")]
pub(crate) use self::progress::{ProgressEnd, ProgressReport};
use self::scheduler::Scheduler;
#[cfg(feature = "server")]
pub(crate) use self::trial::Trial;
use self::work::Work;
use crate::policy::destination::Destinations;
use crate::policy::guard::{Guard, Nat64};
use crate::policy::schedule::Schedule;
use crate::policy::turns::Limits;
use postback_store::shutdown::Shutdown;
use postback_store::{REPORT_UNIT, Store};
use postback_wire::time::Clock;

/// The upper limit of [`Options::concurrency`]. With more attempts in flight, one machine runs out of ports and of open
/// files.
const MAX_CONCURRENCY: usize = 65_536;

/// The default of [`Options::backlog`]: 64 MiB, counted in units of [`REPORT_UNIT`] bytes.
const BACKLOG: usize = (64 << 20) / REPORT_UNIT;

/// The options of a delivery. The module `settings` has checked that their values are valid.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) schedule: Schedule,
    /// The longest time that one attempt may take, from the look-up of the host name to the last byte of the answer.
    pub(crate) timeout: Duration,
    /// The largest number of attempts that may be in flight at the same time. At least 1.
    pub(crate) concurrency: usize,
    /// The largest number of connections that may be open at the same time to all hosts together. Idle connections are
    /// included. `None` means twice the value of `concurrency`.
    pub(crate) connections: Option<usize>,
    /// How many [units](postback_store::REPORT_UNIT) of memory the reports that wait in memory may use. Reports with an
    /// attempt in flight are not included. If this memory is full, further reports wait in the store.
    pub(crate) backlog: usize,
    /// The largest number of attempts to one origin that may be in flight while other origins have reports to send.
    pub(crate) per_origin: usize,
    /// For each origin (scheme, host and port) for which the operator set a limit: the largest number of attempts that
    /// may be in flight. The delivery never exceeds this limit.
    pub(crate) own_concurrency: HashMap<String, usize>,
    pub(crate) destinations: Destinations,
    /// Private networks that every webhook is allowed to go to.
    pub(crate) allow_networks: Vec<IpNet>,
    /// Networks that no webhook is allowed to go to.
    pub(crate) deny_networks: Vec<IpNet>,
    /// The NAT64 prefixes of the network in which this server runs.
    pub(crate) nat64_prefixes: Vec<Nat64>,
    /// A PEM file of certificates that are trusted in addition to the system's certificates.
    pub(crate) ca_file: Option<PathBuf>,
    /// The addresses that this server listens on. Only a trusted webhook is allowed to go to one of these addresses.
    pub(crate) own_addresses: Vec<SocketAddr>,
    /// The resolver, which turns host names into addresses.
    pub(crate) resolver: Arc<dyn Lookup>,
    /// Opens the connections of a test, in place of the network.
    #[cfg(all(feature = "testing", feature = "server"))]
    pub(crate) in_memory: Option<InMemory>,
}

impl Options {
    /// Returns the guard that these options configure. The guard decides which addresses a webhook is allowed to go to.
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
            #[cfg(all(feature = "testing", feature = "server"))]
            in_memory: None,
        }
    }
}

impl Options {
    fn connections(&self) -> usize {
        self.connections.unwrap_or(self.concurrency.saturating_mul(2)).max(1)
    }
}

/// Delivers the reports of one process. The delivery and the other modules communicate only through the store.
pub(crate) struct Delivery {
    store: Store,
    clock: Clock,
    concurrency: usize,
    scheduler: Scheduler<Work>,
    deliverer: Arc<Deliverer>,
    control: Control,
    orders: mpsc::Receiver<Order>,
}

impl Delivery {
    /// Builds a delivery but does not start it. Fails if the certificates cannot be loaded or the HTTP clients cannot
    /// be built.
    pub(crate) fn new(store: Store, clock: Clock, options: Options) -> Result<Self, Error> {
        let concurrency = options.concurrency.clamp(1, MAX_CONCURRENCY);
        let limits = Limits::new(concurrency, options.per_origin);
        let deliverer = Arc::new(Deliverer::new(store.clone(), clock.clone(), &options)?);
        let scheduler = Scheduler::new(limits, dispatch::bounds(options.backlog), options.own_concurrency);
        let (control, orders) = Control::new();
        Ok(Self { store, clock, concurrency, scheduler, deliverer, control, orders })
    }

    /// Returns a handle to this delivery.
    pub(crate) fn control(&self) -> Control {
        self.control.clone()
    }

    /// Delivers reports until the shutdown begins. Then the delivery claims no more reports, waits for the attempts in
    /// flight, and puts the other claimed reports back into the store.
    pub(crate) async fn run(self, shutdown: Shutdown) {
        let Self { store, clock, concurrency, scheduler, deliverer, control, orders } = self;
        // Otherwise the channel would never close, and whoever asks after the end would wait.
        drop(control);
        let (prober, stop) = (deliverer.clone(), shutdown.clone());
        shutdown.spawn(async move { prober.probe_disabled(stop).await });
        Dispatcher::new(store, clock, deliverer, scheduler, concurrency, shutdown).run(orders).await;
    }
}

#[cfg(test)]
pub(crate) mod receiver;
#[cfg(test)]
mod tests;
