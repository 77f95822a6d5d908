//! What a library's poster is made of.

#[cfg(feature = "sqlite")]
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::engine::Engine;
use super::{Disabled, Mode, Outbox, Poster, PosterGuard, ambient, disabled};
use crate::background::Background;
use crate::delivery::{self, Delivery};
use crate::id::NodeId;
use crate::policy::destination::{Destination, Destinations};
use crate::policy::guard::Nat64;
use crate::secret::Secret;
use crate::shutdown::{Shutdown, Vital};
use crate::store::{self, Durability, Location, Store, retention};
use crate::time::Clock;
use crate::webhook::{Webhook, WebhookError};

/// Threads behind a poster: one suffices for ten thousand reports a second, and the other sends while it is busy.
const THREADS: usize = 2;
/// Undelivered reports that an in-memory poster holds unless told otherwise.
const MEMORY_REPORTS: usize = 10_000;
/// How long a delivered report is kept.
const RETENTION: Duration = Duration::from_hours(7 * 24);
/// Their bytes.
const MEMORY_BYTES: usize = 64 << 20;

/// Makes a [`Poster`]; see [`Poster::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `install` or `start`"]
pub struct PosterBuilder {
    location: Location,
    durability: Durability,
    litestream: bool,
    trusted: Vec<String>,
    networks: Vec<String>,
    denied: Vec<String>,
    nat64: Vec<String>,
    secrets: Vec<Secret>,
    retention: Duration,
    delivery: delivery::Options,
    discard: bool,
}

impl Default for PosterBuilder {
    fn default() -> Self {
        let location = in_memory(MEMORY_REPORTS, MEMORY_BYTES);
        Self {
            location,
            durability: Durability::Full,
            litestream: false,
            trusted: Vec::new(),
            networks: Vec::new(),
            denied: Vec::new(),
            nat64: Vec::new(),
            secrets: Vec::new(),
            retention: RETENTION,
            delivery: delivery::Options::default(),
            discard: false,
        }
    }
}

impl PosterBuilder {
    /// Trusts this URL and the paths below it: reports to it are signed with the poster's secrets, and it may be on a
    /// private network or this machine. Any other URL, and one [from a caller](Webhook::from_caller), must be on the public
    /// internet and is sent unsigned, unless its [`Webhook`] has a secret of its own. Can be called again for more.
    pub fn trust(mut self, url: impl Into<String>) -> Self {
        self.trusted.push(url.into());
        self
    }

    /// Signs what goes to trusted URLs with this secret. Called again, both sign: that is how a secret is rotated.
    pub fn secret(mut self, secret: Secret) -> Self {
        self.secrets.push(secret);
        self
    }

    /// Holds at most so many undelivered reports, with so many bytes, in memory: beyond, the newest are lost and counted.
    /// The default is 10,000 reports and 64 MiB.
    pub fn memory(mut self, reports: usize, bytes: usize) -> Self {
        self.location = in_memory(reports, bytes);
        self
    }

    /// Stores reports in this SQLite file, which is made if need be and must belong to this process alone. What was not
    /// delivered when the process ended is delivered by the next that opens the file.
    ///
    /// The number of reports in it has no bound but the disk: they are the program's own. When the disk is full, `post` keeps
    /// what its queue holds and then refuses, and `post_durably` fails after some seconds.
    #[cfg(feature = "sqlite")]
    pub fn sqlite(mut self, path: impl Into<PathBuf>) -> Self {
        self.location = Location::Sqlite { path: path.into(), durability: self.durability };
        self
    }

    /// What a report in a SQLite file survives. The default is [`Durability::Full`].
    #[cfg(feature = "sqlite")]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        if let Location::Sqlite { durability: of_file, .. } = &mut self.location {
            *of_file = durability;
        }
        self
    }

    /// Whether Litestream runs beside the program and copies the SQLite file's log as it grows: then the log is left for it to
    /// cut off. The default is not.
    #[cfg(feature = "sqlite")]
    pub fn litestream(mut self, litestream: bool) -> Self {
        self.litestream = litestream;
        self
    }

    /// Keeps reports so long after their end, with their attempts. The default is 7 days.
    pub fn retention(mut self, retention: Duration) -> Self {
        self.retention = retention;
        self
    }

    /// Lets any webhook go to this private network, such as `10.1.0.0/16`. Can be called again for more.
    ///
    /// # Errors
    ///
    /// A text that is no network is told when the poster is started.
    pub fn allow_network(mut self, network: impl Into<String>) -> Self {
        self.networks.push(network.into());
        self
    }

    /// Lets no webhook go to this network, trusted ones included. Can be called again for more.
    ///
    /// # Errors
    ///
    /// A text that is no network is told when the poster is started.
    pub fn deny_network(mut self, network: impl Into<String>) -> Self {
        self.denied.push(network.into());
        self
    }

    /// Knows that behind this prefix, such as `2001:db8:64::/96`, the site's NAT64 has IPv4 addresses, and judges those. The
    /// well-known prefix `64:ff9b::/96` is known anyway. Can be called again for more.
    ///
    /// # Errors
    ///
    /// A text that is no prefix of 32, 40, 48, 56, 64 or 96 bits is told when the poster is started.
    pub fn nat64_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.nat64.push(prefix.into());
        self
    }

    /// The longest that one attempt may take, from name resolution to the end of the answer. The default is 15 seconds.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.delivery.timeout = timeout;
        self
    }

    /// Attempts that may be in flight at once, at least 1. The default is 256.
    pub fn concurrency(mut self, attempts: usize) -> Self {
        self.delivery.concurrency = attempts.max(1);
        self
    }

    /// Turns reporting off: reports are taken, counted and dropped, and nothing runs behind them. What is wrong with the
    /// other settings, or with a webhook that is posted to, is told all the same. The environment variable
    /// `POSTBACK_DISABLED=1` does the same to all posters of a program.
    pub fn discard(mut self) -> Self {
        self.discard = true;
        self
    }

    /// Starts the poster for the whole process: annotated functions find it by themselves.
    ///
    /// # Errors
    ///
    /// If there is one already; be it one that started by itself because a report came before this call; and as [`start`](Self::start).
    pub fn install(self) -> Result<PosterGuard, StartError> {
        // Found out before a store is opened for nothing.
        if ambient::is_installed() {
            return Err(StartKind::Installed.into());
        }
        let (poster, guard) = self.start()?;
        ambient::install(poster.sink(), poster.flusher()).map_err(|_| StartKind::Installed)?;
        Ok(guard)
    }

    /// Starts a poster that only its holder posts to.
    ///
    /// # Errors
    ///
    /// If a trusted URL cannot be used, the store cannot be opened, or the background threads cannot be started.
    pub fn start(self) -> Result<(Poster, PosterGuard), StartError> {
        let trusted = self.trusted.iter().map(|url| {
            let webhook = Webhook::new(url).map_err(StartKind::Trusted)?;
            Ok(Destination { url: webhook.url().clone(), secrets: Vec::new(), private: true })
        });
        let trusted = trusted.collect::<Result<Vec<_>, StartKind>>()?;
        let mut options = self.delivery;
        options.allow_networks = parsed_networks(&self.networks)?;
        options.deny_networks = parsed_networks(&self.denied)?;
        let prefixes = self.nat64.iter().map(|text| {
            let prefix = text.parse().ok().and_then(Nat64::new);
            prefix.ok_or_else(|| StartKind::Nat64 { prefix: text.escape_debug().to_string() })
        });
        options.nat64_prefixes = prefixes.collect::<Result<_, _>>()?;
        options.destinations = Destinations::new(trusted, &self.secrets);
        if let Some(warning) = options.destinations.shared_secret() {
            tracing::warn!("{warning}");
        }
        if self.discard || disabled::is_disabled_by_environment() {
            tracing::warn!("reporting is turned off: reports are counted and dropped");
            let poster = Poster(Mode::Disabled(Disabled::default()));
            return Ok((poster.clone(), PosterGuard::new(poster)));
        }
        let background = Background::start("postback-poster", THREADS).map_err(StartKind::Thread)?;
        let clock = Clock::system();
        let shutdown = Shutdown::new();
        let location = store::Options { litestream: self.litestream, ..store::Options::at(self.location) };
        let started = start_on(&background, location, options, self.retention, clock.clone(), shutdown.clone());
        match started {
            Ok(store) => {
                let engine = Arc::new(Engine::new(store.clone(), shutdown, background));
                let poster = Poster(Mode::Active { outbox: Outbox::new(store, clock), engine });
                Ok((poster.clone(), PosterGuard::new(poster)))
            }
            Err(kind) => Err(kind.into()),
        }
    }
}

fn parsed_networks(texts: &[String]) -> Result<Vec<IpNet>, StartKind> {
    let parsed = texts
        .iter()
        .map(|network| network.parse().map_err(|_| StartKind::Network { network: network.escape_debug().to_string() }));
    parsed.collect()
}

/// What came to its end is not kept: there is nobody to ask for it.
fn in_memory(reports: usize, bytes: usize) -> Location {
    Location::Memory { reports, bytes, kept: 0 }
}

/// Opens the store and starts the delivery on the background threads, and waits for it there: the caller's may be inside
/// another runtime, which must not block on this one.
fn start_on(
    background: &Background,
    location: store::Options,
    options: delivery::Options,
    keep: Duration,
    clock: Clock,
    shutdown: Shutdown,
) -> Result<Store, StartKind> {
    let (given, taken) = std::sync::mpsc::sync_channel(1);
    let starting = shutdown.clone();
    let task = async move {
        let started = async {
            let store = Store::open(location, NodeId::generate(), clock.clone()).await?;
            store.recover(u32::MAX).await.map_err(StartKind::Recover)?;
            let schedule = options.schedule.total();
            let delivery = Delivery::new(store.clone(), clock, options)?;
            // Nobody asks it: the program is not ours to end, but the log tells.
            let vital = Vital::default();
            shutdown.spawn(vital.watching("delivery", &shutdown, delivery.run(shutdown.clone())));
            let retention = retention::run(store.clone(), keep, schedule, shutdown.clone());
            shutdown.spawn(vital.watching("retention", &shutdown, retention));
            Ok(store)
        };
        // The receiver waits until it is sent.
        let _ = given.send(started.await);
    };
    drop(starting.spawn_on(task, background.handle()));
    taken.recv().unwrap_or(Err(StartKind::Ended))
}

/// A poster could not be started.
#[derive(thiserror::Error)]
#[error(transparent)]
pub struct StartError(#[from] StartKind);

crate::line::debug_as_message!(StartError);

#[derive(Debug, thiserror::Error)]
enum StartKind {
    #[error(
        "a poster is installed already; install one per process, at the start of main, before any annotated function runs"
    )]
    Installed,
    #[error("a trusted URL cannot be used")]
    Trusted(#[source] WebhookError),
    #[error("{network} is no network; write an address and a prefix length, such as 10.1.0.0/16")]
    Network { network: String },
    #[error("{prefix} is no prefix of a NAT64; write one of 32, 40, 48, 56, 64 or 96 bits, such as 2001:db8:64::/96")]
    Nat64 { prefix: String },
    #[error("the poster's store cannot be opened")]
    Active(#[from] store::OpenError),
    #[error("what an earlier process left in the poster's store cannot be taken over")]
    Recover(#[source] store::Error),
    #[error("the poster's HTTP client cannot be set up")]
    Delivery(#[from] delivery::Error),
    #[error("the poster's background threads cannot be started")]
    Thread(#[source] std::io::Error),
    #[error("the poster's background threads ended while it started")]
    Ended,
}

impl StartError {
    /// There is a poster already.
    pub fn is_installed(&self) -> bool {
        matches!(self.0, StartKind::Installed)
    }
}
