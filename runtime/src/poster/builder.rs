//! Builds a poster and starts its background threads.

#[cfg(feature = "sqlite")]
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::engine::Engine;
use super::{DisabledReporting, Formats, Mode, Outbox, Poster, PosterGuard, beat, disabled, process};
use crate::background::Background;
use crate::delivery::{self, Delivery};
use crate::policy::destination::{Destination, Destinations};
use crate::policy::guard::Nat64;
use postback_store::shutdown::{Shutdown, Vital};
use postback_store::{self as store, Durability, Location, Store, retention, taking};
use postback_wire::id::NodeId;
use postback_wire::report::Format;
use postback_wire::secret::Secret;
use postback_wire::time::Clock;
use postback_wire::webhook::{Webhook, WebhookError};

/// The number of background threads of a poster. One thread can send ten thousand reports a second. With two threads,
/// reports are sent even while one thread is busy.
const THREADS: usize = 2;
/// The default for the largest number of undelivered reports in an in-memory poster.
const MEMORY_REPORTS: usize = 10_000;
/// The default for how long the store keeps a report after its delivery has ended.
const RETENTION: Duration = Duration::from_hours(7 * 24);
/// The default for the largest number of bytes that the undelivered reports in an in-memory poster use.
const MEMORY_BYTES: usize = 64 << 20;

/// A builder for a [`Poster`]. Call [`Poster::builder`] to get a builder.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `install` or `start`"]
pub struct PosterBuilder {
    location: Location,
    /// The URL of the PostgreSQL database that takes the place of `location`.
    #[cfg(feature = "postgres")]
    database: Option<String>,
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
    format: Format,
}

impl Default for PosterBuilder {
    fn default() -> Self {
        let location = in_memory(MEMORY_REPORTS, MEMORY_BYTES);
        Self {
            location,
            #[cfg(feature = "postgres")]
            database: None,
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
            format: Format::default(),
        }
    }
}

impl PosterBuilder {
    /// Trusts this URL and the paths below it. Reports to a trusted URL are signed with the poster's secrets. A trusted
    /// URL may be on a private network or on this machine.
    ///
    /// Every other URL, and every URL [from a caller](Webhook::from_caller), must be on the public internet. A report
    /// to such a URL is unsigned, unless the [`Webhook`] has its own secret. Call `trust` again to trust another URL.
    pub fn trust(mut self, url: impl Into<String>) -> Self {
        self.trusted.push(url.into());
        self
    }

    /// Signs reports to trusted URLs with this secret. If you call `secret` more than once, each report is signed with
    /// every one of the secrets. Use this to replace an old secret by a new one.
    pub fn secret(mut self, secret: Secret) -> Self {
        self.secrets.push(secret);
        self
    }

    /// Gives the reports this form, unless a [`Webhook`] has its own. The default is that of Cortex.
    pub fn format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    /// Keeps reports in memory. The poster accepts at most `reports` undelivered reports, and their total size is at
    /// most `bytes`. Reports above these limits are refused and counted as lost. The default is 10,000 reports and 64
    /// MiB.
    pub fn memory(self, reports: usize, bytes: usize) -> Self {
        self.at(in_memory(reports, bytes))
    }

    #[cfg_attr(not(feature = "postgres"), expect(unused_mut, reason = "only PostgreSQL has another field"))]
    fn at(mut self, location: Location) -> Self {
        #[cfg(feature = "postgres")]
        {
            self.database = None;
        }
        Self { location, ..self }
    }

    /// Stores reports in this SQLite file. If the file does not exist, the poster creates it. No other process may use
    /// the file at the same time. If the process ends before a report is delivered, the next process that opens the
    /// file delivers the report.
    ///
    /// Only the disk limits the number of reports in the file. If the disk is full, `post` fails when the poster's
    /// queue is full, and `post_durably` fails after some seconds.
    #[cfg(feature = "sqlite")]
    pub fn sqlite(self, path: impl Into<PathBuf>) -> Self {
        let durability = self.durability;
        self.at(Location::Sqlite { path: path.into(), durability })
    }

    /// Stores reports in a schema of this PostgreSQL database, such as
    /// `postgres://user:password@host/db?search_path=postback`. If the schema does not exist, the poster creates it.
    /// Several posters may use the schema at the same time. If one of them ends before a report is delivered, another one
    /// delivers the report. Do not name the schema of a workload server: a poster knows nothing of its limits.
    ///
    /// # Errors
    ///
    /// This method does not fail. If the text is not the URL of a database, [`start`](Self::start) and
    /// [`install`](Self::install) fail.
    #[cfg(feature = "postgres")]
    pub fn postgres(mut self, url: impl Into<String>) -> Self {
        self.database = Some(url.into());
        self
    }

    /// Sets which crashes the reports in a SQLite file survive: only crashes of the process, or also crashes of the
    /// machine. The default is [`Durability::Full`].
    #[cfg(feature = "sqlite")]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        if let Location::Sqlite { durability: of_file, .. } = &mut self.location {
            *of_file = durability;
        }
        self
    }

    /// Sets whether Litestream runs at the same time as the program and copies the SQLite file's write-ahead log (WAL).
    /// If `true`, the poster does not truncate the WAL, because Litestream truncates it. The default is `false`.
    #[cfg(feature = "sqlite")]
    pub fn litestream(mut self, litestream: bool) -> Self {
        self.litestream = litestream;
        self
    }

    /// Sets how long the poster keeps a report and its attempts after the delivery of the report has ended. The default
    /// is 7 days.
    pub fn retention(mut self, retention: Duration) -> Self {
        self.retention = retention;
        self
    }

    /// Allows every webhook to use this private network, such as `10.1.0.0/16`. Call this method again to allow another
    /// network.
    ///
    /// # Errors
    ///
    /// This method does not fail. If the text is not a network, [`start`](Self::start) and [`install`](Self::install)
    /// fail.
    pub fn allow_network(mut self, network: impl Into<String>) -> Self {
        self.networks.push(network.into());
        self
    }

    /// Forbids every webhook, even a trusted webhook, to use this network. Call this method again to forbid another
    /// network.
    ///
    /// # Errors
    ///
    /// This method does not fail. If the text is not a network, [`start`](Self::start) and [`install`](Self::install)
    /// fail.
    pub fn deny_network(mut self, network: impl Into<String>) -> Self {
        self.denied.push(network.into());
        self
    }

    /// Adds a NAT64 prefix of your network, such as `2001:db8:64::/96`. If an IPv6 address has this prefix, the poster
    /// checks the IPv4 address that the IPv6 address contains. The well-known prefix `64:ff9b::/96` is always known.
    /// Call this method again to add a prefix.
    ///
    /// # Errors
    ///
    /// This method does not fail. If the text is not a prefix of 32, 40, 48, 56, 64 or 96 bits, [`start`](Self::start)
    /// and [`install`](Self::install) fail.
    pub fn nat64_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.nat64.push(prefix.into());
        self
    }

    /// Sets how long one delivery attempt may take, from the look-up of the host name to the last byte of the response.
    /// The default is 15 seconds.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.delivery.timeout = timeout;
        self
    }

    /// Sets how many delivery attempts may run at the same time. The number must be at least 1. The default is 256.
    pub fn concurrency(mut self, attempts: usize) -> Self {
        self.delivery.concurrency = attempts.max(1);
        self
    }

    /// Turns reporting off: the poster counts the reports, drops them, and has no background threads. The poster still
    /// returns the errors in its other settings and in the webhooks of the reports. The environment variable
    /// `POSTBACK_DISABLED=1` turns reporting off for all posters of a program.
    pub fn discard(mut self) -> Self {
        self.discard = true;
        self
    }

    /// Starts the poster for the whole process, so that annotated functions find it by themselves.
    ///
    /// # Errors
    ///
    /// Fails if the process has a poster already. A poster may have started by itself, if an annotated function has
    /// reported before this call of `install`. Also fails for the same reasons as [`start`](Self::start).
    pub fn install(self) -> Result<PosterGuard, StartError> {
        // The check is made before the store is opened, because an `install` that fails must not create a file.
        if process::is_installed() {
            return Err(StartKind::Installed.into());
        }
        let (poster, guard) = self.start()?;
        process::install(&poster).map_err(|_| StartKind::Installed)?;
        Ok(guard)
    }

    /// Starts a poster that annotated functions do not find. Only code that has the returned [`Poster`] can post
    /// reports to it.
    ///
    /// # Errors
    ///
    /// Fails if a setting is not valid, if a trusted URL cannot be used, if the store cannot be opened, or if the
    /// background threads cannot be started.
    #[cfg_attr(not(feature = "postgres"), expect(unused_mut, reason = "only PostgreSQL has a URL"))]
    pub fn start(mut self) -> Result<(Poster, PosterGuard), StartError> {
        #[cfg(feature = "postgres")]
        if let Some(url) = self.database.take() {
            self.location = Location::Postgres { url: url.parse().map_err(StartKind::DatabaseUrl)? };
        }
        let trusted = self.trusted.iter().map(|url| {
            let webhook = Webhook::new(url).map_err(StartKind::Trusted)?;
            Ok(Destination { url: webhook.url().clone(), secrets: Vec::new(), private: true, format: None })
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
        let formats = Formats::new(self.format, options.destinations.clone());
        if let Some(warning) = options.destinations.shared_secret() {
            tracing::warn!("{warning}");
        }
        if self.discard || disabled::is_disabled_by_environment() {
            tracing::warn!("reporting is turned off: reports are counted and dropped");
            let poster = Poster(Mode::Disabled(DisabledReporting::default()));
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
                let (outbox, flusher) = (Outbox::new(store, clock).with_formats(formats), engine.flusher());
                let poster = Poster::with_engine(outbox, flusher, engine);
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

/// Returns the location of an in-memory store that keeps no report after its delivery has ended, because a library has
/// no interface that would show such reports.
fn in_memory(reports: usize, bytes: usize) -> Location {
    Location::Memory { reports, bytes, kept: 0 }
}

/// Opens the store and starts the delivery on the background threads. A channel returns the result, because the caller
/// may be inside another runtime, where `block_on` would panic.
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
            // `vital` logs an error if the task that delivers reports or the task that deletes old rows ends too early.
            // A server would also end its process in this case. But this is a library, and a library must not end the
            // process of the program that uses it.
            let vital = Vital::default();
            shutdown.spawn(vital.watching("delivery", &shutdown, delivery.run(shutdown.clone())));
            let retention = retention::run(store.clone(), move || (keep.into(), schedule), shutdown.clone());
            shutdown.spawn(vital.watching("retention", &shutdown, retention));
            let hand_ins = taking::run(store.clone(), shutdown.clone());
            shutdown.spawn(vital.watching("intake of hand-ins", &shutdown, hand_ins));
            // The stop of the delivery does not wait for the heartbeat, which ends when the store is closed.
            Shutdown::new().spawn(vital.watching("heartbeat", &shutdown, beat::run(store.clone(), shutdown.clone())));
            Ok(store)
        };
        // `send` does not fail, because the receiver of this channel waits for the value.
        let _ = given.send(started.await);
    };
    drop(starting.spawn_on(task, background.handle()));
    taken.recv().unwrap_or(Err(StartKind::Ended))
}

/// The error that says why a poster could not be started.
#[derive(thiserror::Error)]
#[error(transparent)]
pub struct StartError(#[from] StartKind);

postback_wire::line::debug_as_message!(StartError);

#[derive(Debug, thiserror::Error)]
enum StartKind {
    #[error(
        "a poster is installed already; install one per process, at the start of main, before any annotated function runs"
    )]
    Installed,
    #[error("a trusted URL cannot be used")]
    Trusted(#[source] WebhookError),
    #[error("{network} is not a network; write an address and a prefix length, such as 10.1.0.0/16")]
    Network { network: String },
    #[error(
        "{prefix} is not a NAT64 prefix; write a prefix of 32, 40, 48, 56, 64 or 96 bits, such as 2001:db8:64::/96"
    )]
    Nat64 { prefix: String },
    #[cfg(feature = "postgres")]
    #[error("the URL of the database cannot be used")]
    DatabaseUrl(#[source] store::DatabaseUrlError),
    #[error("the poster's store cannot be opened")]
    Open(#[from] store::OpenError),
    #[error("the reports that an earlier process left in the poster's store cannot be taken over")]
    Recover(#[source] store::Error),
    #[error("the poster's HTTP client cannot be set up")]
    Delivery(#[from] delivery::Error),
    #[error("the poster's background threads cannot be started")]
    Thread(#[source] std::io::Error),
    #[error("the poster's background threads ended while it started")]
    Ended,
}

impl StartError {
    /// Whether `install` failed because the process has a poster already.
    pub fn is_installed(&self) -> bool {
        matches!(self.0, StartKind::Installed)
    }
}
