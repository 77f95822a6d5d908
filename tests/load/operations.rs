//! The mode `operations`: the time of each operation on an empty store and on a full store, as a user sees it.
//!
//! A workload server creates its file with `durability = "full"`, and stops. Then the SQL of `operations.sql` fills the
//! file with rows as such a server writes them. The full store has `--rows` finished requests, each with a report that
//! was delivered in the first attempt. It also has [`UNFINISHED`] rows of each of these kinds: requests that wait
//! because the program does not have their route, reports that are parked because their origin refuses connections, and
//! reports that are held for [`DISABLED`] disabled URLs. The empty store has only the rows that the operations need:
//! [`SAMPLES`] finished requests, and the disabled URLs that are enabled later.
//!
//! On each store, the mode measures one operation after the other:
//!
//! - *start* and *stop*: the time from the start of the process until it is ready, and the time from SIGTERM to its
//!   end, both for a server that has just started and for a server that has done all the other operations;
//! - over HTTP, until the complete answer is read: *submit*; the status of finished requests, spread over all of them,
//!   without and with their deliveries; the status of an unknown request; the cancel of a finished request, and of a
//!   request that waits because other requests occupy all slots; and `/readyz`. The *round trip* begins with a submit
//!   and ends when the webhook is at the receiver;
//! - commands, from the start of their process to its end: `endpoints list` and `endpoints enable` while the server
//!   runs, and `deliveries replay` while it is stopped. Each `endpoints enable` releases [`HELD`] reports, which arrive
//!   before the next command.
//!
//! At the end, [`QUEUED`] requests of 1,000 owners wait for a route that is full, in the full store. The mode measures a
//! *submit* to this route, and the *round trip* of another route.
//!
//! The p99 of fewer than a hundred times is the longest time. The mode does not measure operations that no user waits
//! for: the deletion of rows after the retention, the end of reports that were parked too long, and the repair after a
//! crash. It fails if an answer is not the expected one.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use postback_tests::{Process, client};
use reqwest::Method;
use serde_json::Value;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection as _};
use tokio::runtime::Runtime;

use crate::ledger::Ledger;
use crate::numbers::{milliseconds, quantile};
use crate::receiver::{BARE, ROUND_TRIP, Receiver};
use crate::rounds::PAYLOAD;
use crate::{Options, folder, program};

/// How often each operation over HTTP is measured.
const SAMPLES: u32 = 200;
/// How often each command is measured.
const COMMANDS: u32 = 20;
/// How often the start of the server is measured.
const STARTS: u32 = 3;
/// The number of waiting requests, of parked reports and of held reports in the full store.
const UNFINISHED: u32 = 5_000;
/// The number of disabled URLs for which the full store holds [`UNFINISHED`] reports.
const DISABLED: u32 = 100;
/// The number of reports that are held for each URL that a command enables.
const HELD: u32 = 10;
/// The number of requests that run or wait before the requests that are cancelled. The server has four slots.
const AHEAD: u32 = 16;
/// The number of requests in the full store that wait for a full route.
const QUEUED: u32 = 100_000;
/// The requests before the cancelled ones run until this file exists.
const GATE: &str = "gate";
/// The origin of the parked reports. Nothing listens there.
const REFUSING: &str = "http://127.0.0.1:9";
/// The limit for each operation. An operation that works takes less time.
const PATIENCE: Duration = Duration::from_secs(30);

/// The measured times of each operation. The operations are in the order in which they were measured first.
#[derive(Default)]
struct Times(Vec<(&'static str, Vec<Duration>)>);

impl Times {
    fn add(&mut self, operation: &'static str, time: Duration) {
        match self.0.iter_mut().find(|(name, _)| *name == operation) {
            Some((_, times)) => times.push(time),
            None => self.0.push((operation, vec![time])),
        }
    }

    /// The median and the p99 of one operation, in milliseconds.
    fn quantiles(&mut self, at: usize) -> (f64, f64) {
        let times = &mut self.0[at].1;
        times.sort_unstable();
        (milliseconds(quantile(times, 0.50)), milliseconds(quantile(times, 0.99)))
    }
}

/// One store, its server's program, and the client and the receiver that use it.
struct Bench {
    workload: PathBuf,
    folder: tempfile::TempDir,
    receiver: Receiver,
    client: reqwest::Client,
    runtime: Runtime,
    /// The number of finished requests whose reports were delivered.
    finished: u32,
    /// The number of further rows of each kind: waiting requests, parked reports, held reports.
    unfinished: u32,
    times: Times,
}

pub(crate) fn run(options: &Options) -> bool {
    let mut empty = Bench::new(options, SAMPLES, 0).measure();
    let mut full = Bench::new(options, options.rows, UNFINISHED).measure();
    println!("{:>43} {:^19} {:^19}", "", "empty", "full");
    println!("{:<37} times    median       p99    median       p99   ratio", "operation");
    for at in 0..full.0.len() {
        let ((before, before_p99), (after, after_p99)) = (empty.quantiles(at), full.quantiles(at));
        let (name, times) = &full.0[at];
        let (count, ratio) = (times.len(), after / before);
        println!("{name:<37} {count:>5} {before:>9.2} {before_p99:>9.2} {after:>9.2} {after_p99:>9.2} {ratio:>7.2}");
    }
    println!(
        "times in milliseconds; the ratio is the median of the full store divided by the median of the empty store"
    );
    true
}

/// The id of the row with this number in the filled store. The rows are numbered from 1.
fn id(number: u32) -> String {
    format!("01900000-0000-7000-8000-{number:012x}")
}

impl Bench {
    fn new(options: &Options, finished: u32, unfinished: u32) -> Self {
        let workload = program().with_file_name("workload");
        assert!(workload.exists(), "{} is not built: `cargo build --release -p postback-tests`", workload.display());
        let (folder, receiver) = (folder(), Receiver::start());
        // The URLs are not trusted. If a disabled URL were trusted, the server would probe it at its start.
        let settings = format!(
            "[config]\nwebhook_url = {:?}\n[server]\nlisten = \"127.0.0.1:0\"\n[worker]\nconcurrency = 4\n\
             [route.\"/guarded\"]\nconcurrency = 1\n\
             [store]\nurl = \"sqlite:store.db\"\ndurability = \"full\"\n[log]\nlevel = {:?}\n\
             [delivery]\nallow_networks = [\"127.0.0.0/8\"]\n",
            receiver.url(ROUND_TRIP),
            options.log
        );
        std::fs::write(folder.path().join("postback.toml"), settings).expect("the settings");
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
        Self { workload, folder, receiver, client: client(), runtime, finished, unfinished, times: Times::default() }
    }

    fn measure(mut self) -> Times {
        let (mut server, _) = self.start();
        stop(&mut server);
        // This start has only created the file, so its time does not count.
        self.times.0.clear();
        let (file, begun) = (self.folder.path().join("store.db"), Instant::now());
        self.runtime.block_on(fill(&file, &self.sql())).expect("a store filled");
        let stored = std::fs::File::open(&file).and_then(|file| file.sync_all().and_then(|()| file.metadata()));
        let mib = stored.expect("the file").len() >> 20;
        println!("{} finished requests: {mib} MiB, filled in {:.1} s", self.finished, begun.elapsed().as_secs_f64());

        let (mut server, mut url) = self.start();
        for _ in 1..STARTS {
            self.times.add("stop, just started", stop(&mut server));
            (server, url) = self.start();
        }
        self.measure_requests(&url);
        self.cancel_waiting(&url);
        self.enable();
        self.times.add("stop, after the work", stop(&mut server));
        for number in 0..COMMANDS {
            let delivered = id(self.old(number, COMMANDS));
            self.command("deliveries replay, server stopped", &["deliveries", "replay", &delivered], &delivered);
        }
        self.measure_queue();
        self.times
    }

    /// Measures operations while many requests wait for a full route, in the full store. This server is killed, because
    /// the run that makes the route full does not end.
    fn measure_queue(&mut self) {
        if self.unfinished > 0 {
            let values = [("queued", QUEUED.to_string()), ("now", now().to_string())];
            let sql = filled(include_str!("queued.sql"), &values);
            let file = self.folder.path().join("store.db");
            self.runtime.block_on(fill(&file, &sql)).expect("a store filled");
        }
        let (_server, url) = self.start();
        let never = r#"{"gate":"never"}"#;
        self.submit(&url, "/guarded", never);
        for _ in 0..SAMPLES {
            let begun = Instant::now();
            self.submit(&url, "/guarded", never);
            self.times.add("submit, queue of its route", begun.elapsed());
            let begun = Instant::now();
            let new = self.submit(&url, "/echo", PAYLOAD);
            self.times.add("round trip, queue of another route", self.arrival(&self.receiver.trips, &new) - begun);
        }
    }

    fn start(&mut self) -> (Process, String) {
        let begun = Instant::now();
        let mut server = Process::start(&self.workload, self.folder.path(), &["serve"], &[]);
        loop {
            if let Some(url) = server.url() {
                self.times.add("start until ready", begun.elapsed());
                return (server, url);
            }
            assert!(
                server.is_running() && begun.elapsed() < 10 * PATIENCE,
                "the server is not ready: {}",
                server.output()
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The number of a finished request. The `of` requests that are chosen lie evenly between the first and the last.
    fn old(&self, number: u32, of: u32) -> u32 {
        1 + number * (self.finished / of)
    }

    /// Measures the operations over HTTP that need no preparation.
    fn measure_requests(&mut self, url: &str) {
        for number in 0..SAMPLES {
            let begun = Instant::now();
            let new = self.submit(url, "/echo", PAYLOAD);
            self.times.add("submit", begun.elapsed());
            self.times.add("round trip", self.arrival(&self.receiver.trips, &new) - begun);
            let old = format!("{url}/echo/{}", id(self.old(number, SAMPLES)));
            self.call("status, finished", Method::GET, &old, 200);
            let status = self.call("status, deliveries", Method::GET, &format!("{old}?include=delivery"), 200);
            assert!(status.contains(r#""delivered""#), "{status}");
            self.call("status, unknown", Method::GET, &format!("{url}/echo/unknown-{number}"), 404);
            self.call("cancel, finished", Method::DELETE, &old, 409);
            self.call("readyz", Method::GET, &format!("{url}/readyz"), 200);
        }
    }

    /// Measures cancels of requests that wait behind running requests. Then lets the running requests end.
    fn cancel_waiting(&mut self, url: &str) {
        let body = format!(r#"{{"gate":"{GATE}"}}"#);
        let ahead: Vec<String> = (0..AHEAD).map(|_| self.submit(url, "/gated", &body)).collect();
        let waiting: Vec<String> = (0..SAMPLES).map(|_| self.submit(url, "/gated", &body)).collect();
        for id in waiting {
            self.call("cancel, waiting", Method::DELETE, &format!("{url}/gated/{id}"), 200);
        }
        std::fs::write(self.folder.path().join(GATE), "").expect("a file");
        for id in ahead {
            self.arrival(&self.receiver.trips, &id);
        }
    }

    /// Measures `endpoints list` and `endpoints enable`.
    fn enable(&mut self) {
        let first = self.finished + 2 * self.unfinished + 1;
        for number in 0..COMMANDS {
            let url = self.receiver.url(&format!("{BARE}?n={}", number + 1));
            self.command("endpoints list, server running", &["endpoints", "list"], "answered 410");
            let expected = format!("{HELD} reports");
            self.command("endpoints enable, server running", &["endpoints", "enable", &url], &expected);
            for held in (first + number * HELD..).take(HELD as usize) {
                self.arrival(&self.receiver.bare, &id(held));
            }
        }
    }

    /// Waits for the webhook with this id, and returns when it arrived.
    fn arrival(&self, at: &Ledger, id: &str) -> Instant {
        self.runtime.block_on(at.arrival(id, PATIENCE)).expect("a webhook")
    }

    /// Submits a request and returns its id.
    fn submit(&self, url: &str, route: &str, body: &str) -> String {
        let request = self.client.post(format!("{url}{route}")).timeout(PATIENCE).body(body.to_owned());
        let request = request.header("content-type", "application/json");
        let accepted = async { request.send().await?.error_for_status()?.json::<Value>().await };
        let accepted = self.runtime.block_on(accepted).expect("a request that is accepted");
        accepted["id"].as_str().expect("an id").to_owned()
    }

    fn call(&mut self, operation: &'static str, method: Method, url: &str, expected: u16) -> String {
        let begun = Instant::now();
        let answered = async {
            let answer = self.client.request(method, url).timeout(PATIENCE).send().await?;
            reqwest::Result::Ok((answer.status().as_u16(), answer.text().await?))
        };
        let (status, text) = self.runtime.block_on(answered).expect("an answer");
        self.times.add(operation, begun.elapsed());
        assert_eq!(status, expected, "{operation}: {text}");
        text
    }

    fn command(&mut self, operation: &'static str, arguments: &[&str], expected: &str) {
        let mut command = Command::new(&self.workload);
        command.args(arguments).current_dir(self.folder.path()).env_clear();
        let begun = Instant::now();
        let done = command.output().expect("the program");
        self.times.add(operation, begun.elapsed());
        let output = String::from_utf8_lossy(&done.stdout);
        assert!(done.status.success() && output.contains(expected), "{arguments:?}: {done:?}");
    }

    /// The SQL that fills the file. Each name in braces is replaced by its value. The kinds of rows have consecutive
    /// numbers, and the values of `finished` to `waiting` are the last number of each kind.
    fn sql(&self) -> String {
        let (parked, held) = (self.finished + self.unfinished, self.finished + 2 * self.unfinished);
        let enabled = held + COMMANDS * HELD;
        let values = [
            ("finished", self.finished.to_string()),
            ("parked", parked.to_string()),
            ("held", held.to_string()),
            ("enabled", enabled.to_string()),
            ("waiting", (enabled + self.unfinished).to_string()),
            ("now", now().to_string()),
            ("urls", COMMANDS.to_string()),
            ("held_each", HELD.to_string()),
            ("disabled", if self.unfinished > 0 { DISABLED } else { 0 }.to_string()),
            ("receiver", self.receiver.url("")),
            ("refusing", REFUSING.to_owned()),
            ("payload", PAYLOAD.to_owned()),
        ];
        filled(include_str!("operations.sql"), &values)
    }
}

/// Replaces each name in braces by its value.
pub(crate) fn filled(sql: &str, values: &[(&str, String)]) -> String {
    values.iter().fold(sql.to_owned(), |sql, (name, value)| sql.replace(&format!("{{{name}}}"), value))
}

/// The time now, in microseconds since 1970.
pub(crate) fn now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_micros()
}

pub(crate) async fn fill(file: &Path, sql: &str) -> Result<(), sqlx::Error> {
    let options = SqliteConnectOptions::new().filename(file).create_if_missing(false);
    let mut connection = SqliteConnection::connect_with(&options).await?;
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
    connection.close().await
}

/// Stops the server, and returns how long the stop took.
fn stop(server: &mut Process) -> Duration {
    let begun = Instant::now();
    server.terminate();
    while server.is_running() {
        assert!(begun.elapsed() < PATIENCE, "the server does not stop: {}", server.output());
        std::thread::sleep(Duration::from_millis(1));
    }
    let time = begun.elapsed();
    assert!(server.ended().success(), "{}", server.output());
    time
}
