//! Checks each key: its default, its limits, and the option that it sets.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::access_keys;
use super::config_table::ConfigTable;
use super::error::{Error, Errors};
#[cfg(feature = "postgres")]
use super::mismatch::refused;
use super::mismatch::{Mismatch, expected};
use super::read::{self, one_of};
use super::section::Section;
use super::set_by::SetBy;
use super::sources::Gathered;
use super::tree::{Node, Table, Value};
use super::{Delivery, Endpoint, Settings, forwards, results_keys, routes, telemetry_keys};
use crate::admin::AdminToken;
use crate::handler::allowed::{CONCURRENCY, PAUSE, QUEUED, QUEUED_BYTES, RETENTION, RUN_TIMEOUT, RUNS};
use crate::policy::guard::Nat64;
use crate::policy::schedule::Schedule;
use crate::telemetry::{self, Format, Log};
use crate::{access, api, worker};
use postback_store::{self as store, Location};

/// Whether this build can export traces. Tests of settings need no exporter.
const CAN_EXPORT: bool = cfg!(any(feature = "otlp", test));

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
const MIB: u64 = 1 << 20;

/// The allowed values of `server.max_payload`, in bytes. The maximum is needed because SQLite stores no row of more
/// than 10^9 bytes, and because a whole payload is held in memory.
const MAX_PAYLOAD: RangeInclusive<u64> = 1..=512 * MIB;
const PER_ORIGIN: usize = 128;
const THREADS: RangeInclusive<u64> = 1..=1_024;
const DISK_RESERVE: RangeInclusive<u64> = 0..=1 << 50;
const ATTEMPT_TIMEOUT: RangeInclusive<Duration> = MILLISECOND..=HOUR;
const GRACE: RangeInclusive<Duration> = Duration::ZERO..=HOUR;

/// The largest number of store operations that wait for the next commit.
const QUEUE: usize = 16_384;
/// The largest number of bytes of store operations that wait for the next commit. If two payloads of the largest
/// allowed size need more bytes than this number, the size of two such payloads is the limit instead.
const QUEUE_BYTES: usize = 64 << 20;
/// The largest number of undelivered reports in the memory store.
const MEMORY_REPORTS: usize = 100_000;
/// The largest number of bytes of undelivered reports in the memory store.
const MEMORY_BYTES: usize = 256 << 20;
/// The largest number of finished requests and finished reports that stay in the memory store, so that clients can
/// still ask for them.
const MEMORY_KEPT: usize = 10_000;

const fn times(unit: Duration, n: u32) -> Duration {
    unit.saturating_mul(n)
}

/// Checks the gathered settings. Returns the options. If there are mistakes, also calls `check_config`, which looks for
/// a mistake in the table `[config]`, and returns all mistakes together.
pub(super) fn check(
    gathered: Gathered,
    check_config: impl FnOnce(&ConfigTable) -> Option<Error>,
) -> Result<Settings, Errors> {
    let mut errors = Vec::new();
    let mut tables = match gathered.root.value {
        Value::Table(tables) => tables,
        _ => Table::new(),
    };
    let (server, access, admin_token) = server(section("server", &mut tables, &mut errors), &gathered.env);
    let (mut store, retention, max_inline) =
        store(section("store", &mut tables, &mut errors), server.max_payload, &gathered.program);
    let results = results_keys::options(section("results", &mut tables, &mut errors), &store.place, max_inline);
    let (worker, queued) = worker(section("worker", &mut tables, &mut errors));
    (store.max_queued, store.max_queued_bytes) = queued;
    let routes = routes::routes(tables.remove("route"), &mut errors);
    let delivery = delivery(section("delivery", &mut tables, &mut errors));
    let log = log(section("log", &mut tables, &mut errors), gathered.rust_log);
    let of_traces = (gathered.program.as_str(), delivery.ca_file.clone());
    let section_of_traces = section("telemetry", &mut tables, &mut errors);
    let traces = telemetry_keys::traces(section_of_traces, &gathered.env, of_traces, CAN_EXPORT);
    let grace = grace(section("shutdown", &mut tables, &mut errors));
    let config = ConfigTable::new(tables.remove("config")).map_err(|error| errors.push(error)).ok();
    let rest = Node { set_by: SetBy::Program, value: Value::Table(tables) };
    let mut root = Section::new(String::new(), Some(rest), &mut errors);
    let forwards = forwards::forwards(&mut root);
    root.finish();
    if !errors.is_empty() {
        errors.extend(config.as_ref().and_then(check_config));
        return Err(Errors(errors));
    }
    let (config, file, warnings) = (config.unwrap_or_default(), gathered.file, gathered.warnings);
    let mut settings = Settings {
        server,
        access,
        admin_token,
        store,
        retention,
        results,
        worker,
        routes,
        forwards,
        delivery,
        log,
        traces,
        grace,
        config,
        file,
        warnings,
    };
    settings.warnings.extend(settings.destinations().shared_secret());
    settings.warnings.extend(access_keys::warning(&settings.access));
    Ok(settings)
}

fn section<'e>(name: &str, tables: &mut Table, errors: &'e mut Vec<Error>) -> Section<'e> {
    Section::new(name.to_owned(), tables.remove(name), errors)
}

type Server = (api::Options, access::Options, Option<AdminToken>);

fn server(mut section: Section<'_>, env: &[(OsString, OsString)]) -> Server {
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 8_080));
    let wanted = "an IP address and a port, such as \"127.0.0.1:8080\"";
    let options = api::Options {
        listen: section.take("listen", listen, |node| read::parsed(node, wanted, |text| text.trim().parse().ok())),
        max_payload: section.take("max_payload", 10 << 20, |node| read::size(node, &MAX_PAYLOAD)),
        connections: api::CONNECTIONS,
        accept_ids: section.take("accept_ids", false, read::boolean),
    };
    let access = access_keys::options(&mut section, env);
    let wanted = format!("a token of {} to {} visible ASCII characters", AdminToken::MIN_LEN, AdminToken::MAX_LEN);
    let token = |node| read::optional(node, |node| read::parsed(node, &wanted, |text| AdminToken::new(text.trim())));
    let admin_token = section.take("admin_token", None, token);
    section.finish();
    (options, access, admin_token)
}

fn store(mut section: Section<'_>, max_payload: usize, program: &str) -> (store::Options, Duration, usize) {
    let names = [("full", store::Durability::Full), ("normal", store::Durability::Normal)];
    let (durability, durability_by) =
        section.take_with_place("durability", store::Durability::Full, |node| one_of(node, &names));
    let default = if cfg!(feature = "sqlite") { format!("sqlite:{program}.db") } else { "memory:".to_owned() };
    let (url, set_by) =
        section.take_with_place("url", default, |node| read::parsed(node, STORE_URL, |text| Some(text.to_owned())));
    let location = location(&url, durability).unwrap_or_else(|mismatch| {
        section.refuse("url", &set_by, mismatch);
        IN_MEMORY
    });
    let (litestream, litestream_by) = section.take_with_place("litestream", false, read::boolean);
    if is_postgres(&url) {
        if durability == store::Durability::Normal {
            let mismatch = expected("\"full\": in PostgreSQL, each commit is safe from a power cut of the server");
            section.refuse("durability", &durability_by, mismatch);
        }
        if litestream {
            section.refuse("litestream", &litestream_by, expected("false, because Litestream copies SQLite databases"));
        }
    }
    let disk_reserve = section.take("disk_reserve", 256 << 20, |node| read::size(node, &DISK_RESERVE).map(bytes));
    let max_inline = section.take("max_inline", 256 << 10, |node| read::size(node, &results_keys::MAX_INLINE));
    let retention = section.take("retention", times(DAY, 7), |node| read::duration(node, &RETENTION));
    section.finish();
    let queue_bytes = QUEUE_BYTES.max(2 * max_payload);
    let options =
        store::Options { queue: QUEUE, queue_bytes, litestream, disk_reserve, ..store::Options::at(location) };
    (options, retention, max_inline)
}

const STORE_URL: &str = "\"sqlite:FILE\", \"postgres://USER:PASSWORD@HOST/DATABASE\" or \"memory:\"";
const IN_MEMORY: Location = Location::Memory { reports: MEMORY_REPORTS, bytes: MEMORY_BYTES, kept: MEMORY_KEPT };

/// Reads the URL of a store from a command line. The error says what a URL looks like, and does not repeat it.
pub(crate) fn store_place(url: &str) -> Result<Location, String> {
    location(url, store::Durability::Full)
        .map_err(|_| format!("the URL of a store is {STORE_URL}, if the program has the feature for it"))
}

fn is_postgres(url: &str) -> bool {
    url.starts_with("postgres:") || url.starts_with("postgresql:")
}

#[cfg_attr(not(feature = "sqlite"), expect(unused_variables, reason = "only SQLite has different durabilities"))]
fn location(url: &str, durability: store::Durability) -> Result<Location, Mismatch> {
    if url == "memory:" {
        return Ok(IN_MEMORY);
    }
    if is_postgres(url) {
        #[cfg(feature = "postgres")]
        return url.parse().map(|url| Location::Postgres { url }).map_err(refused);
        #[cfg(not(feature = "postgres"))]
        return Err(expected(
            "another store; \"postgres:\" needs the feature `postgres` of postback, and this program was built without it",
        ));
    }
    let Some(path) = url.strip_prefix("sqlite:") else { return Err(expected(STORE_URL)) };
    // Some tools write `sqlite://FILE`. This line removes the two slashes. Otherwise `//FILE` would be a file in the
    // root folder.
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() || path == ":memory:" || path.contains(['?', '\0']) {
        return Err(expected(format!("{STORE_URL}; FILE is a path without parameters")));
    }
    #[cfg(feature = "sqlite")]
    return Ok(Location::Sqlite { path: path.into(), durability });
    #[cfg(not(feature = "sqlite"))]
    return Err(expected(
        "\"memory:\"; \"sqlite:\" needs the feature `sqlite` of postback, and this program was built without it",
    ));
}

/// Reads the options of the worker and the limits of the queue. The limits are the largest number of requests that
/// wait, and the largest number of bytes of these requests.
fn worker(mut section: Section<'_>) -> (worker::Options, (u64, u64)) {
    let options = worker::Options {
        concurrency: section.take("concurrency", 64, |node| read::whole(node, &CONCURRENCY)),
        threads: section.take("threads", None, |node| read::optional(node, |node| read::whole(node, &THREADS))),
        timeout: section.take("timeout", HOUR, |node| read::duration(node, &RUN_TIMEOUT)),
        max_attempts: section.take("max_attempts", 1, |node| read::whole(node, &RUNS)),
        retry_delay: section.take("retry_delay", SECOND, |node| read::duration(node, &PAUSE)),
        max_retry_delay: section.take("max_retry_delay", MINUTE, |node| read::duration(node, &PAUSE)),
        max_crashes: section.take("max_crashes", 3, |node| read::whole(node, &RUNS)),
    };
    let queued = section.take("max_queued", 1_000_000, |node| read::whole(node, &QUEUED));
    let queued_bytes = section.take("max_queued_bytes", 8 << 30, |node| read::size(node, &QUEUED_BYTES).map(bytes));
    section.finish();
    (options, (queued, queued_bytes))
}

/// Converts a size to `u64`, the type for sizes on disk. On a 32-bit machine, a size on disk may be larger than the
/// largest `usize`.
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
    let secrets_of_all = section.take("secrets", Vec::new(), secrets);
    let schedule = section.take("schedule", Schedule::default(), schedule);
    let timeout = section.take("timeout", times(SECOND, 15), |node| read::duration(node, &ATTEMPT_TIMEOUT));
    let concurrency = section.take("concurrency", 256, |node| read::whole(node, &CONCURRENCY));
    let part_of_concurrency = |node| {
        let wanted = format!("a whole number from 1 to {concurrency}, which is delivery.concurrency");
        read::whole(node, &CONCURRENCY).ok().filter(|n| *n <= concurrency).ok_or_else(|| expected(wanted))
    };
    let delivery = Delivery {
        format: section.take("format", postback_wire::report::Format::default(), report_format),
        secrets: secrets_of_all,
        schedule,
        timeout,
        concurrency,
        per_origin: section.take("per_origin", PER_ORIGIN.min(concurrency), part_of_concurrency),
        allow_networks: section.take("allow_networks", Vec::new(), networks),
        deny_networks: section.take("deny_networks", Vec::new(), networks),
        nat64_prefixes: section.take("nat64_prefixes", Vec::new(), |node| {
            read::list(node, "a list of prefixes such as \"2001:db8:64::/96\"", nat64)
        }),
        ca_file: section.take("ca_file", None, |node| read::optional(node, file)),
        endpoints: section.take_tables("endpoint", |endpoint| {
            let secrets = endpoint.take("secrets", Vec::new(), secrets);
            let private = endpoint.take("private", None, |node| read::boolean(node).map(Some));
            let concurrency = endpoint.take("concurrency", None, |node| part_of_concurrency(node).map(Some));
            let format = endpoint.take("format", None, |node| report_format(node).map(Some));
            let given = endpoint.has("url");
            let url = endpoint.take("url", None, |node| read::url(node).map(Some));
            if !given {
                endpoint.missing("url");
            }
            url.map(|url| Endpoint { url, secrets, private, concurrency, format })
        }),
    };
    section.finish();
    delivery
}

fn report_format(node: Node) -> Result<postback_wire::report::Format, Mismatch> {
    one_of(node, &postback_wire::report::Format::ALL.map(|format| (format.as_str(), format)))
}

fn schedule(node: Node) -> Result<Schedule, Mismatch> {
    let wanted = "a list of 1 to 100 durations such as \"5s\", one for each attempt; the first must be \"0s\"";
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
        section.refuse_variable("RUST_LOG", expected("directives such as \"info,hyper=debug\""));
    }
    section.finish();
    Log { level: rust_log.unwrap_or(level), format }
}

fn grace(mut section: Section<'_>) -> Duration {
    let grace = section.take("grace", times(SECOND, 25), |node| read::duration(node, &GRACE));
    section.finish();
    grace
}
