//! The mode `operations`: what each operation of the store takes as its users meet it, on an empty store and on a full one.
//!
//! A workload server makes its file with `durability = "full"`, and stops. The file is then filled by SQL, see
//! `operations.sql`, with what such a server leaves behind: so many finished requests as `--rows` says, each with a report that
//! was delivered at the first try. In the full store there are also, [`ASIDE`] of each, requests that wait and whose route the
//! program does not have, reports that are parked because nothing connects, and reports that are held for [`DISABLED`]
//! disabled URLs. The empty store has only what is asked for: [`SAMPLES`] finished requests, and the URLs to be enabled.
//!
//! Then, one after another, on either store:
//!
//! - *start* and *stop*: from the process's start until it is ready, and from SIGTERM to its end, at once and after the rest;
//! - over HTTP, with the whole answer: *submit*, from which the *round trip* goes on until the webhook is at the receiver;
//!   the status of finished requests, spread over all of them, without and with deliveries; that of an unknown one; cancels of
//!   requests that are over, and of requests that wait behind others which occupy all slots; `/readyz`;
//! - as processes, from start to end: `endpoints list` and `endpoints enable` beside the running server, which lets go of
//!   [`HELD`] reports that arrive before the next command; and `deliveries replay` on the stopped store.
//!
//! The p99 of fewer than a hundred is the longest. Left out is what nobody waits for: the end of retention, reports that are
//! given up by age, and what is put back after a crash. It fails if an answer is not the expected one.

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

/// How often a thing is done over HTTP, and as a process.
const SAMPLES: u32 = 200;
const COMMANDS: u32 = 20;
const STARTS: u32 = 3;
/// Of the full store: waiting requests of an unknown route, parked reports, held reports.
const ASIDE: u32 = 5_000;
/// URLs that those are held for.
const DISABLED: u32 = 100;
/// Reports that are held for each URL that is enabled.
const HELD: u32 = 10;
/// Requests that occupy the four slots, and more.
const AHEAD: u32 = 16;
const GATE: &str = "gate";
/// Nothing listens there.
const NOBODY: &str = "http://127.0.0.1:9";
/// Longer than the answer to anything that works.
const PATIENCE: Duration = Duration::from_secs(30);

/// Times by operation, in the order in which they come.
#[derive(Default)]
struct Times(Vec<(&'static str, Vec<Duration>)>);

impl Times {
    fn add(&mut self, operation: &'static str, time: Duration) {
        match self.0.iter_mut().find(|(name, _)| *name == operation) {
            Some((_, times)) => times.push(time),
            None => self.0.push((operation, vec![time])),
        }
    }

    /// Median and p99, in milliseconds.
    fn told(&mut self, at: usize) -> (f64, f64) {
        let times = &mut self.0[at].1;
        times.sort_unstable();
        (milliseconds(quantile(times, 0.50)), milliseconds(quantile(times, 0.99)))
    }
}

/// One store, and who works with it.
struct Bench {
    workload: PathBuf,
    folder: tempfile::TempDir,
    receiver: Receiver,
    client: reqwest::Client,
    runtime: Runtime,
    /// Requests whose reports were delivered.
    finished: u32,
    /// Of each kind, beside those.
    aside: u32,
    times: Times,
}

pub(crate) fn run(options: &Options) -> bool {
    let mut empty = Bench::new(options, SAMPLES, 0).measure();
    let mut full = Bench::new(options, options.rows, ASIDE).measure();
    println!("{:>43} {:^19} {:^19}", "", "empty", "full");
    println!("{:<37} times    median       p99    median       p99   ratio", "operation");
    for at in 0..full.0.len() {
        let ((before, before_p99), (after, after_p99)) = (empty.told(at), full.told(at));
        let (name, times) = &full.0[at];
        let (count, ratio) = (times.len(), after / before);
        println!("{name:<37} {count:>5} {before:>9.2} {before_p99:>9.2} {after:>9.2} {after_p99:>9.2} {ratio:>7.2}");
    }
    println!("times in milliseconds; the ratio is that of the medians");
    true
}

/// A request that was finished before, or is there to be held or parked: the rows have numbers from 1.
fn id(number: u32) -> String {
    format!("01900000-0000-7000-8000-{number:012x}")
}

impl Bench {
    fn new(options: &Options, finished: u32, aside: u32) -> Self {
        let workload = program().with_file_name("workload");
        assert!(workload.exists(), "{} is not built: `cargo build --release -p postback-tests`", workload.display());
        let (folder, receiver) = (folder(), Receiver::start());
        // Disabled URLs that were trusted would be tried as the server starts.
        let settings = format!(
            "[config]\nwebhook_url = {:?}\n[server]\nlisten = \"127.0.0.1:0\"\n[worker]\nconcurrency = 4\n\
             [store]\nurl = \"sqlite:store.db\"\ndurability = \"full\"\n[log]\nlevel = {:?}\n\
             [delivery]\nallow_networks = [\"127.0.0.0/8\"]\n",
            receiver.url(ROUND_TRIP),
            options.log
        );
        std::fs::write(folder.path().join("postback.toml"), settings).expect("the settings");
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
        Self { workload, folder, receiver, client: client(), runtime, finished, aside, times: Times::default() }
    }

    fn measure(mut self) -> Times {
        let (mut server, _) = self.start();
        stop(&mut server);
        // It has made the file.
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
        self.ask(&url);
        self.cancel_waiting(&url);
        self.enable();
        self.times.add("stop, after the work", stop(&mut server));
        for number in 0..COMMANDS {
            let delivered = id(self.old(number, COMMANDS));
            self.command("deliveries replay, server stopped", &["deliveries", "replay", &delivered], &delivered);
        }
        self.times
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

    /// The number of one of the finished requests, which lie evenly between the first and the last.
    fn old(&self, number: u32, of: u32) -> u32 {
        1 + number * (self.finished / of)
    }

    /// Everything that needs no preparation.
    fn ask(&mut self, url: &str) {
        for number in 0..SAMPLES {
            let begun = Instant::now();
            let new = self.submit(url, "/echo", PAYLOAD);
            self.times.add("submit", begun.elapsed());
            self.times.add("round trip", self.arrival(&self.receiver.trips, &new) - begun);
            let old = format!("{url}/echo/{}", id(self.old(number, SAMPLES)));
            self.call("status, finished", Method::GET, &old, 200);
            let told = self.call("status, deliveries", Method::GET, &format!("{old}?include=delivery"), 200);
            assert!(told.contains(r#""delivered""#), "{told}");
            self.call("status, unknown", Method::GET, &format!("{url}/echo/unknown-{number}"), 404);
            self.call("cancel, finished", Method::DELETE, &old, 409);
            self.call("readyz", Method::GET, &format!("{url}/readyz"), 200);
        }
    }

    /// Cancels what waits for others to end, which then may.
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

    fn enable(&mut self) {
        let first = self.finished + 2 * self.aside + 1;
        for number in 0..COMMANDS {
            let url = self.receiver.url(&format!("{BARE}?n={}", number + 1));
            self.command("endpoints list, server running", &["endpoints", "list"], "answered 410");
            let says = format!("{HELD} reports");
            self.command("endpoints enable, server running", &["endpoints", "enable", &url], &says);
            for held in (first + number * HELD..).take(HELD as usize) {
                self.arrival(&self.receiver.bare, &id(held));
            }
        }
    }

    /// When the webhook with this id arrived.
    fn arrival(&self, at: &Ledger, id: &str) -> Instant {
        self.runtime.block_on(at.arrival(id, PATIENCE)).expect("a webhook")
    }

    /// Its id.
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

    fn command(&mut self, operation: &'static str, arguments: &[&str], says: &str) {
        let mut command = Command::new(&self.workload);
        command.args(arguments).current_dir(self.folder.path()).env_clear();
        let begun = Instant::now();
        let done = command.output().expect("the program");
        self.times.add(operation, begun.elapsed());
        let said = String::from_utf8_lossy(&done.stdout);
        assert!(done.status.success() && said.contains(says), "{arguments:?}: {done:?}");
    }

    /// What fills the file, with the numbers of the last requests of each kind.
    fn sql(&self) -> String {
        let (parked, held) = (self.finished + self.aside, self.finished + 2 * self.aside);
        let enabled = held + COMMANDS * HELD;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_micros();
        let values = [
            ("finished", self.finished.to_string()),
            ("parked", parked.to_string()),
            ("held", held.to_string()),
            ("enabled", enabled.to_string()),
            ("waiting", (enabled + self.aside).to_string()),
            ("now", now.to_string()),
            ("urls", COMMANDS.to_string()),
            ("held_each", HELD.to_string()),
            ("disabled", if self.aside > 0 { DISABLED } else { 0 }.to_string()),
            ("receiver", self.receiver.url("")),
            ("nobody", NOBODY.to_owned()),
            ("payload", PAYLOAD.to_owned()),
        ];
        let sql = include_str!("operations.sql").to_owned();
        values.iter().fold(sql, |sql, (name, value)| sql.replace(&format!("{{{name}}}"), value))
    }
}

async fn fill(file: &Path, sql: &str) -> Result<(), sqlx::Error> {
    let options = SqliteConnectOptions::new().filename(file).create_if_missing(false);
    let mut connection = SqliteConnection::connect_with(&options).await?;
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
    connection.close().await
}

/// How long it took.
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
