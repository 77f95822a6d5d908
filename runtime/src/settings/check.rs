//! Every key that there is: its default, its limits, and the options that it ends in.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::error::{Error, Errors, Origin};
use super::read::{self, Section, Wrong, expected};
use super::sources::Gathered;
use super::tree::{Node, Table, Value};
use super::user::User;
use super::{Delivery, Endpoint, Settings};
use crate::policy::guard::Nat64;
use crate::policy::schedule::Schedule;
use crate::store::{self, Location};
use crate::telemetry::{self, Format, Log};
use crate::{api, worker};

/// All keys, for hints and for the tests that compare them with the documented ones.
pub(crate) const KEYS: &[&str] = &[
    "server.listen",
    "server.max_payload",
    "store.url",
    "store.durability",
    "store.litestream",
    "store.retention",
    "store.disk_reserve",
    "worker.concurrency",
    "worker.threads",
    "worker.timeout",
    "worker.max_attempts",
    "worker.retry_delay",
    "worker.max_retry_delay",
    "worker.max_crashes",
    "worker.max_queued",
    "worker.max_queued_bytes",
    "delivery.secrets",
    "delivery.schedule",
    "delivery.timeout",
    "delivery.concurrency",
    "delivery.per_origin",
    "delivery.allow_networks",
    "delivery.deny_networks",
    "delivery.nat64_prefixes",
    "delivery.ca_file",
    "delivery.endpoint",
    "delivery.endpoint.url",
    "delivery.endpoint.secrets",
    "delivery.endpoint.private",
    "delivery.endpoint.concurrency",
    "log.level",
    "log.format",
    "shutdown.grace",
];

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
/// As the parser of durations counts it.
const YEAR: Duration = Duration::from_hours(8_766);
const MIB: u64 = 1 << 20;

/// SQLite stores no row beyond 10^9 bytes, and a payload is held in memory as a whole.
const MAX_PAYLOAD: RangeInclusive<u64> = 1..=512 * MIB;
const CONCURRENCY: RangeInclusive<u64> = 1..=65_536;
const PER_ORIGIN: usize = 128;
const THREADS: RangeInclusive<u64> = 1..=1_024;
const TRIES: RangeInclusive<u64> = 1..=1_000;
const QUEUED: RangeInclusive<u64> = 1..=1_000_000_000;
const QUEUED_BYTES: RangeInclusive<u64> = 1..=1 << 50;
const DISK_RESERVE: RangeInclusive<u64> = 0..=1 << 50;
/// Shorter, and whoever polls would not find what has just finished.
const RETENTION: RangeInclusive<Duration> = SECOND..=times(YEAR, 10);
const RUN_TIMEOUT: RangeInclusive<Duration> = MILLISECOND..=times(DAY, 30);
const ATTEMPT_TIMEOUT: RangeInclusive<Duration> = MILLISECOND..=HOUR;
const PAUSE: RangeInclusive<Duration> = Duration::ZERO..=times(DAY, 7);
const GRACE: RangeInclusive<Duration> = Duration::ZERO..=HOUR;

/// Operations that may wait for the next commit.
const QUEUE: usize = 16_384;
/// Bytes that may wait for the next commit, unless payloads are so large that this holds only one.
const QUEUE_BYTES: usize = 64 << 20;
/// Undelivered reports, and their bytes, that the store in memory holds.
const MEMORY_REPORTS: usize = 100_000;
const MEMORY_BYTES: usize = 256 << 20;
/// Requests and reports that came to their end and can still be asked for.
const MEMORY_KEPT: usize = 10_000;

const fn times(unit: Duration, n: u32) -> Duration {
    unit.saturating_mul(n)
}

/// Turns what was gathered into options, or tells all that is wrong with it.
pub(super) fn check(gathered: Gathered, of_user: impl FnOnce(&User) -> Option<Error>) -> Result<Settings, Errors> {
    let mut errors = Vec::new();
    let mut tables = match gathered.root.value {
        Value::Table(tables) => tables,
        _ => Table::new(),
    };
    let server = server(section("server", &mut tables, &mut errors));
    let (mut store, retention) =
        store(section("store", &mut tables, &mut errors), server.max_payload, &gathered.program);
    let (worker, queued) = worker(section("worker", &mut tables, &mut errors));
    (store.max_queued, store.max_queued_bytes) = queued;
    let delivery = delivery(section("delivery", &mut tables, &mut errors));
    let log = log(section("log", &mut tables, &mut errors), gathered.rust_log);
    let grace = grace(section("shutdown", &mut tables, &mut errors));
    let user = User::new(tables.remove("config")).map_err(|error| errors.push(error)).ok();
    let rest = Node { origin: Origin::Program, value: Value::Table(tables) };
    Section::new(String::new(), Some(rest), KEYS, &mut errors).finish();
    if !errors.is_empty() {
        errors.extend(user.as_ref().and_then(of_user));
        return Err(Errors(errors));
    }
    let (user, origin, warnings) = (user.unwrap_or_default(), gathered.file, gathered.warnings);
    let mut settings = Settings { server, store, retention, worker, delivery, log, grace, user, origin, warnings };
    settings.warnings.extend(settings.destinations().shared_secret());
    Ok(settings)
}

fn section<'e>(name: &str, tables: &mut Table, errors: &'e mut Vec<Error>) -> Section<'e> {
    Section::new(name.to_owned(), tables.remove(name), KEYS, errors)
}

fn server(mut section: Section<'_>) -> api::Options {
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 8_080));
    let wanted = "an IP address and a port, such as \"127.0.0.1:8080\"";
    let options = api::Options {
        listen: section.take("listen", listen, |node| read::parsed(node, wanted, |text| text.trim().parse().ok())),
        max_payload: section.take("max_payload", 10 << 20, |node| read::size(node, &MAX_PAYLOAD)),
        connections: api::CONNECTIONS,
    };
    section.finish();
    options
}

fn store(mut section: Section<'_>, max_payload: usize, program: &str) -> (store::Options, Duration) {
    #[cfg(feature = "sqlite")]
    let durability = {
        use store::Durability::{Full, Normal};
        let names = [("full", Full), ("normal", Normal)];
        section.take("durability", Full, |node| one_of(node, &names))
    };
    #[cfg(not(feature = "sqlite"))]
    section.take("durability", (), |node| one_of(node, &[("full", ()), ("normal", ())]));
    let default = if cfg!(feature = "sqlite") { format!("sqlite:{program}.db") } else { "memory:".to_owned() };
    let (url, origin) =
        section.take_with_origin("url", default, |node| read::parsed(node, STORE_URL, |text| Some(text.to_owned())));
    let place = place(
        &url,
        #[cfg(feature = "sqlite")]
        durability,
    );
    let place = place.unwrap_or_else(|wrong| {
        section.refuse("url", &origin, wrong);
        IN_MEMORY
    });
    let litestream = section.take("litestream", false, read::boolean);
    let disk_reserve = section.take("disk_reserve", 256 << 20, |node| read::size(node, &DISK_RESERVE).map(bytes));
    let retention = section.take("retention", times(DAY, 7), |node| read::duration(node, &RETENTION));
    section.finish();
    let queue_bytes = QUEUE_BYTES.max(2 * max_payload);
    (store::Options { queue: QUEUE, queue_bytes, litestream, disk_reserve, ..store::Options::at(place) }, retention)
}

const STORE_URL: &str = "\"sqlite:FILE\" or \"memory:\"";
const IN_MEMORY: Location = Location::Memory { reports: MEMORY_REPORTS, bytes: MEMORY_BYTES, kept: MEMORY_KEPT };

fn place(url: &str, #[cfg(feature = "sqlite")] durability: store::Durability) -> Result<Location, Wrong> {
    if url == "memory:" {
        return Ok(IN_MEMORY);
    }
    if url.starts_with("postgres:") || url.starts_with("postgresql:") {
        return Err(expected(format!("{STORE_URL}; this version has no PostgreSQL store")));
    }
    let Some(path) = url.strip_prefix("sqlite:") else { return Err(expected(STORE_URL)) };
    // Some tools write `sqlite://FILE`; taken literally that would be a file in the root folder.
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() || path == ":memory:" || path.contains(['?', '\0']) {
        return Err(expected(format!("{STORE_URL}, the file without parameters")));
    }
    #[cfg(feature = "sqlite")]
    return Ok(Location::Sqlite { path: path.into(), durability });
    #[cfg(not(feature = "sqlite"))]
    return Err(expected(
        "\"memory:\"; \"sqlite:\" needs postback's feature `sqlite`, which this program is built without",
    ));
}

/// The options of the worker, and how many requests may wait for it, with how many bytes.
fn worker(mut section: Section<'_>) -> (worker::Options, (u64, u64)) {
    let options = worker::Options {
        concurrency: section.take("concurrency", 64, |node| read::whole(node, &CONCURRENCY)),
        threads: section.take("threads", None, |node| read::optional(node, |node| read::whole(node, &THREADS))),
        timeout: section.take("timeout", HOUR, |node| read::duration(node, &RUN_TIMEOUT)),
        max_attempts: section.take("max_attempts", 1, |node| read::whole(node, &TRIES)),
        retry_delay: section.take("retry_delay", SECOND, |node| read::duration(node, &PAUSE)),
        max_retry_delay: section.take("max_retry_delay", MINUTE, |node| read::duration(node, &PAUSE)),
        max_crashes: section.take("max_crashes", 3, |node| read::whole(node, &TRIES)),
    };
    let queued = section.take("max_queued", 1_000_000, |node| read::whole(node, &QUEUED));
    let queued_bytes = section.take("max_queued_bytes", 8 << 30, |node| read::size(node, &QUEUED_BYTES).map(bytes));
    section.finish();
    (options, (queued, queued_bytes))
}

/// Where it may be more than the memory of a small machine has.
fn bytes(size: usize) -> u64 {
    size as u64
}

fn delivery(mut section: Section<'_>) -> Delivery {
    let secrets = |node| read::list(node, "a list of signing secrets", read::secret);
    let network = |node| read::parsed(node, "a network such as \"10.1.0.0/16\"", |text| read::network(text.trim()));
    let networks = |node| read::list(node, "a list of networks such as \"10.1.0.0/16\"", network);
    let prefix = "an IPv6 prefix of 32, 40, 48, 56, 64 or 96 bits, such as \"2001:db8:64::/96\"";
    let nat64 = |node| read::parsed(node, prefix, |text| Nat64::new(text.trim().parse().ok()?));
    let file = |node| read::parsed(node, "the path of a file", |text| Some(PathBuf::from(text)));
    let own = section.take("secrets", Vec::new(), secrets);
    let schedule = section.take("schedule", Schedule::default(), schedule);
    let timeout = section.take("timeout", times(SECOND, 15), |node| read::duration(node, &ATTEMPT_TIMEOUT));
    let concurrency = section.take("concurrency", 256, |node| read::whole(node, &CONCURRENCY));
    let part_of_it = |node| {
        let wanted = format!("a whole number from 1 to {concurrency}, which is delivery.concurrency");
        read::whole(node, &CONCURRENCY).ok().filter(|n| *n <= concurrency).ok_or_else(|| expected(wanted))
    };
    let delivery = Delivery {
        secrets: own,
        schedule,
        timeout,
        concurrency,
        per_origin: section.take("per_origin", PER_ORIGIN.min(concurrency), part_of_it),
        allow_networks: section.take("allow_networks", Vec::new(), networks),
        deny_networks: section.take("deny_networks", Vec::new(), networks),
        nat64_prefixes: section.take("nat64_prefixes", Vec::new(), |node| {
            read::list(node, "a list of prefixes such as \"2001:db8:64::/96\"", nat64)
        }),
        ca_file: section.take("ca_file", None, |node| read::optional(node, file)),
        endpoints: section.take_tables("endpoint", |endpoint| {
            let secrets = endpoint.take("secrets", Vec::new(), secrets);
            let private = endpoint.take("private", None, |node| read::boolean(node).map(Some));
            let concurrency = endpoint.take("concurrency", None, |node| part_of_it(node).map(Some));
            let given = endpoint.has("url");
            let url = endpoint.take("url", None, |node| read::url(node).map(Some));
            if !given {
                endpoint.missing("url");
            }
            url.map(|url| Endpoint { url, secrets, private, concurrency })
        }),
    };
    section.finish();
    delivery
}

fn schedule(node: Node) -> Result<Schedule, Wrong> {
    let wanted =
        "a list of 1 to 100 durations such as \"5s\", one for each try; the first is \"0s\", for it is made at once";
    let pauses = read::list(node, wanted, |node| read::duration(node, &PAUSE))?;
    Schedule::new(pauses).map_err(|_| expected(wanted))
}

fn log(mut section: Section<'_>, rust_log: Option<String>) -> Log {
    let wanted = "off, error, warn, info, debug or trace, or directives such as \"info,hyper=debug\"";
    let level = section.take("level", "info".to_owned(), |node| {
        read::parsed(node, wanted, |text| telemetry::is_level(text).then(|| text.to_owned()))
    });
    let format = section.take("format", Format::Auto, |node| {
        one_of(node, &[("auto", Format::Auto), ("text", Format::Text), ("json", Format::Json)])
    });
    if rust_log.as_deref().is_some_and(|text| !telemetry::is_directives(text)) {
        let wrong = expected("directives such as \"info,hyper=debug\"");
        section.refuse_as("RUST_LOG", &Origin::Variable("RUST_LOG".into()), wrong);
    }
    section.finish();
    Log { level: rust_log.unwrap_or(level), format }
}

fn grace(mut section: Section<'_>) -> Duration {
    let grace = section.take("grace", times(SECOND, 25), |node| read::duration(node, &GRACE));
    section.finish();
    grace
}

/// One of a few words.
fn one_of<T: Copy>(node: Node, names: &[(&str, T)]) -> Result<T, Wrong> {
    let quoted: Vec<String> = names.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    read::parsed(node, &quoted.join(" or "), |text| {
        names.iter().find(|(name, _)| *name == text.trim()).map(|(_, value)| *value)
    })
}
