//! The mode `pages`: how fast the lists of the dashboard are at a million requests and a million deliveries, and what open
//! dashboards cost a server under load.
//!
//! For the lists, a workload server makes its tables and stops. SQL fills them with `--rows` ended requests, each with a
//! delivery that is over, and with the figures of a week. The mode calls the operator's API as the views of the dashboard do,
//! one call after the other, and prints the median and the longest time until the answer is read. It does so on SQLite and on
//! PostgreSQL. A middle page begins in the middle of all rows.
//!
//! For the cost, the sides take turns: clients make round trips, without dashboards and while [`OPEN`] dashboards show a
//! view. A dashboard is a client that follows the changes and makes the calls of the page, at its pace (`keep.js`). Many
//! are open, because the cost of one drowns in the noise. The ratios are those of turns that follow each other, and what one
//! costs is the part of [`OPEN`].

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use postback_tests::{Process, client};
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};
use tokio::runtime::Runtime;

use crate::anatomy::Reading;
use crate::numbers::{Rate, Spread, milliseconds, quantile};
use crate::postgres::Server as Postgres;
use crate::rounds::{Kind, PAYLOAD};
use crate::{Options, folder, program, receiver, roundtrip};

/// How often each page is read.
const SAMPLES: u32 = 50;
/// A list page that takes longer than this is a problem.
const ASKED: Duration = Duration::from_millis(50);
const TOKEN: &str = "the-admin-token-of-the-load-program";
/// How many dashboards are open: as many as a server lets follow its changes.
const OPEN: u32 = 16;
/// What a dashboard follows, whatever it shows.
const FEED: &str = "changes?every=1s";
/// The views that are measured, each with the call that it makes after a change, and one that it makes from time to time.
const VIEWS: [(&str, &str, Option<&str>); 2] =
    [("the overview", "health", Some("series?range=1h")), ("the list of requests", "requests", None)];
/// The shortest time between two calls for the same, how many times as long as an answer it is, and the longest time.
const PACE: (Duration, u32, Duration) = (Duration::from_secs(1), 20, Duration::from_secs(10));
/// How often the charts are read anew.
const CHARTS: Duration = Duration::from_secs(10);
const WARM_UP: Duration = Duration::from_secs(2);
/// The figures of each row of the table `series`.
const FIGURES: &str = r#"{"accepted":6120,"completed":6102,"failed":18,"delivered":6101,"failed_attempts":12,"dead":1,"runs":{"us":61200000,"n":[100,500,3000,2000,400,80,20,15,5]},"deliveries":{"us":91200000,"n":[0,100,2500,3000,400,80,20,15,5]},"waiting":{"queued":12,"running":4,"undelivered":9,"oldest_request_ms":40,"oldest_delivery_ms":20}}"#;

pub(crate) fn run(options: &Options) -> bool {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
    let mut fast = true;
    if options.only.is_empty() || options.only == "sqlite" {
        let folder = folder();
        fast &= lists(&runtime, options, "SQLite", "sqlite:store.db", &folder);
    }
    if options.only.is_empty() || options.only == "postgres" {
        match Postgres::start_with("on", None) {
            Ok(postgres) => fast &= lists(&runtime, options, "PostgreSQL", &postgres.url("pages"), &folder()),
            Err(why) => println!("PostgreSQL is not measured: {why}"),
        }
    }
    let complete = !(options.only.is_empty() || options.only == "cost") || cost(&runtime, options);
    fast && complete
}

/// The pages of the lists: what is read, the path, and whether the answer must have rows.
fn pages(rows: u32) -> Vec<(&'static str, String)> {
    let middle = format!("cursor=r{:x}", rows / 2);
    vec![
        ("requests, first page", "requests".to_owned()),
        ("requests, middle", format!("requests?{middle}")),
        ("requests of a route, middle", format!("requests?route=/route7&{middle}")),
        ("failed requests, first page", "requests?status=failed".to_owned()),
        ("failed requests, middle", format!("requests?status=failed&{middle}")),
        ("requests by time", "requests?until=36h".to_owned()),
        ("requests by id", "requests?id=01900000-0000-7000-8000-00000000".to_owned()),
        ("deliveries, first page", "deliveries".to_owned()),
        ("deliveries, middle", format!("deliveries?{middle}")),
        ("deliveries to a URL, middle", format!("deliveries?url=https://7.example/&{middle}")),
        ("dead letters, first page", "deliveries?status=dead".to_owned()),
        ("dead letters, middle", format!("deliveries?status=dead&{middle}")),
        ("series of an hour", "series?range=1h".to_owned()),
        ("series of a week", "series?range=7d".to_owned()),
        ("series of a week, one origin", "series?range=7d&origin=https://7.example".to_owned()),
        ("health", "health".to_owned()),
    ]
}

/// Measures the lists on one backend. Returns whether all are as fast as asked.
fn lists(runtime: &Runtime, options: &Options, name: &str, url: &str, folder: &tempfile::TempDir) -> bool {
    let settings = format!(
        "[config]\nwebhook_url = \"https://hooks.example/in\"\n[server]\nlisten = \"127.0.0.1:0\"\nadmin_token = {TOKEN:?}\n\
         [store]\nurl = {url:?}\n[log]\nlevel = {:?}\n",
        options.log
    );
    std::fs::write(folder.path().join("postback.toml"), settings).expect("the settings");
    let workload = program().with_file_name("workload");
    assert!(workload.exists(), "{} is not built: `cargo build --release -p postback-tests`", workload.display());
    let start = || Process::start(&workload, folder.path(), &["serve"], &[]);
    let stop = |mut server: Process| {
        server.terminate();
        assert!(server.ended().success(), "{}", server.output());
    };
    let mut server = start();
    server.ready();
    stop(server);
    let begun = Instant::now();
    runtime.block_on(fill(url, &folder.path().join("store.db"), options.rows)).expect("a store filled");
    println!("{name}: {} requests and deliveries, filled in {:.0} s", options.rows, begun.elapsed().as_secs_f64());
    let mut server = start();
    let api = format!("{}/_postback/api", server.ready());
    println!("  {:<30} {:>8} {:>8} {:>7}", "ms", "median", "longest", "kB");
    let (mut fast, client) = (true, client());
    for (what, path) in pages(options.rows) {
        let mut times = Vec::new();
        let mut bytes = 0;
        for _ in 0..SAMPLES {
            let begun = Instant::now();
            let body = runtime.block_on(get(&client, &format!("{api}/{path}")));
            times.push(begun.elapsed());
            bytes = body.len();
        }
        times.sort_unstable();
        let median = quantile(&times, 0.50);
        fast &= median < ASKED;
        let late = if median < ASKED { "" } else { "  slower than asked" };
        let longest = milliseconds(quantile(&times, 1.0));
        println!("  {what:<30} {:>8.1} {longest:>8.1} {:>7}{late}", milliseconds(median), bytes / 1_000);
    }
    stop(server);
    fast
}

async fn get(client: &reqwest::Client, url: &str) -> bytes::Bytes {
    let answer = client.get(url).bearer_auth(TOKEN).send().await.expect("an answer");
    let (status, body) = (answer.status(), answer.bytes().await.expect("a whole answer"));
    assert!(status.is_success(), "{url}: {status}: {}", String::from_utf8_lossy(&body));
    body
}

/// Fills a store with ended requests and deliveries, and with the figures of a week. `file` is that of SQLite.
pub(crate) async fn fill(url: &str, file: &std::path::Path, rows: u32) -> Result<(), sqlx::Error> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970").as_micros();
    let filled = |template: &str| {
        let values = [("rows", rows.to_string()), ("now", now.to_string())];
        let texts = [("payload", PAYLOAD.to_owned()), ("figures", FIGURES.to_owned())];
        let sql = values.iter().chain(&texts);
        AssertSqlSafe(sql.fold(template.to_owned(), |sql, (name, value)| sql.replace(&format!("{{{name}}}"), value)))
    };
    if url.starts_with("sqlite:") {
        let mut conn = SqliteConnectOptions::new().filename(file).connect().await?;
        sqlx::raw_sql(filled(include_str!("pages_sqlite.sql"))).execute(&mut conn).await?;
        return conn.close().await;
    }
    let (database, schema) = url.split_once("&search_path=").expect("a schema");
    let options: PgConnectOptions = database.parse()?;
    let mut conn = options.options([("search_path", schema)]).connect().await?;
    let sql = filled(include_str!("pages_postgres.sql"));
    let AssertSqlSafe(sql) = sql;
    // PostgreSQL refuses `VACUUM` beside other statements.
    let (rows, vacuum) = sql.split_once("COMMIT;").expect("one transaction");
    sqlx::raw_sql(AssertSqlSafe(format!("{rows}COMMIT;"))).execute(&mut conn).await?;
    sqlx::raw_sql(AssertSqlSafe(vacuum.to_owned())).execute(&mut conn).await?;
    conn.close().await
}

/// Measures what open dashboards cost a server under load.
fn cost(runtime: &Runtime, options: &Options) -> bool {
    let folder = folder();
    let receiver = receiver::Receiver::start();
    let variables = [("POSTBACK_SERVER__ADMIN_TOKEN", TOKEN)];
    let (mut server, load) = roundtrip::start_server_with(folder.path(), &receiver, &options.log, &variables);
    let api = load.server.replace("/echo", "/_postback/api");
    let play = |time| runtime.block_on(load.round(Kind::RoundTrip, options.in_flight.into(), time));
    play(WARM_UP);
    for (view, often, seldom) in VIEWS {
        let turn = |open: bool| {
            let calls = Arc::new(AtomicUsize::new(0));
            let dashboards = if open { watch(runtime, &api, often, seldom, &calls) } else { Vec::new() };
            let before = Reading::of(server.id());
            let round = play(options.round());
            let used = Reading::of(server.id()).since(&before);
            dashboards.iter().for_each(tokio::task::JoinHandle::abort);
            #[expect(clippy::cast_precision_loss, reason = "the printed figures are rounded anyway")]
            let micros = used.all().nanoseconds as f64 / 1e3 / round.latencies.len().max(1) as f64;
            (Rate::of(&round).0, micros, calls.load(Ordering::Relaxed))
        };
        cost_of(view, options.rounds, turn);
    }
    let one = idle_cost(runtime, &api, server.id());
    println!("the calls of one overview, while nothing else happens: {one:.0} µs of processor time a second");
    server.terminate();
    let stopped = server.ended();
    let left = receiver.trips.settle();
    println!("round trips: {left}");
    stopped.success() && left.is_complete()
}

/// Measures a view in pairs of turns, and prints what it costs. A turn returns round trips a second, the processor time of
/// one in µs, and the number of the dashboards' calls.
fn cost_of(view: &str, rounds: u16, turn: impl Fn(bool) -> (f64, f64, usize)) {
    let (mut rates, mut costs, mut calls) = (Vec::new(), Vec::new(), 0);
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for number in 0..rounds {
        // The first of a pair is not always the same side.
        let (plain, open) = if number % 2 == 0 {
            let plain = turn(false);
            (plain, turn(true))
        } else {
            let open = turn(true);
            (turn(false), open)
        };
        rates.push(open.0 / plain.0);
        costs.push(open.1 / plain.1);
        without.push(plain.0);
        with.push(open.0);
        calls += open.2;
    }
    let (rate, micros) = (Spread::of(rates), Spread::of(costs));
    let share = |ratio: f64| (ratio - 1.0) * 100.0 / f64::from(OPEN);
    println!(
        "{OPEN} open dashboards that show {view}, {calls} calls; {:.0} round trips/s without and {:.0} with them (medians of {rounds} pairs)",
        Spread::of(without).median,
        Spread::of(with).median,
    );
    println!("  rate, ratio of pairs: {:.3} ({:.3} to {:.3})", rate.median, rate.least, rate.most);
    println!(
        "  processor time of a trip, ratio of pairs: {:.3} ({:.3} to {:.3})",
        micros.median, micros.least, micros.most
    );
    println!(
        "  so one costs {:+.2} % of the rate, and {:+.2} % of the processor time",
        share(rate.median),
        share(micros.median)
    );
}

/// Opens [`OPEN`] dashboards that show a view.
fn watch(
    runtime: &Runtime,
    api: &str,
    often: &'static str,
    seldom: Option<&'static str>,
    calls: &Arc<AtomicUsize>,
) -> Vec<tokio::task::JoinHandle<()>> {
    let client = client();
    let one = |number: u32| {
        let (client, api, calls) = (client.clone(), api.to_owned(), Arc::clone(calls));
        runtime.spawn(async move {
            tokio::time::sleep(PACE.0 * number / OPEN).await;
            let feed = client.get(format!("{api}/{FEED}")).bearer_auth(TOKEN).send();
            let mut feed = feed.await.expect("a feed").error_for_status().expect("a feed");
            let mut charts = None;
            loop {
                let begun = Instant::now();
                get(&client, &format!("{api}/{often}")).await;
                let took = begun.elapsed();
                calls.fetch_add(1, Ordering::Relaxed);
                if let Some(seldom) = seldom.filter(|_| charts.is_none_or(|at: Instant| at.elapsed() >= CHARTS)) {
                    charts = Some(Instant::now());
                    get(&client, &format!("{api}/{seldom}")).await;
                    calls.fetch_add(1, Ordering::Relaxed);
                }
                tokio::time::sleep((took * PACE.1).clamp(PACE.0, PACE.2)).await;
                // Under load, there is always a change. What came meanwhile is read at once, as by a browser.
                feed.chunk().await.expect("a change").expect("an open feed");
            }
        })
    };
    (0..OPEN).map(one).collect()
}

/// The processor time of the server for the calls that one dashboard makes in a second if nothing changes, in µs.
fn idle_cost(runtime: &Runtime, api: &str, process: u32) -> f64 {
    let client = client();
    // While the feed tells everything, the page asks every 15 s.
    let calls = [("health", Duration::from_secs(15)), ("series?range=1h", Duration::from_secs(15))];
    let micros = calls.map(|(path, pause)| {
        let before = Reading::of(process);
        for _ in 0..SAMPLES {
            runtime.block_on(get(&client, &format!("{api}/{path}")));
        }
        #[expect(clippy::cast_precision_loss, reason = "the printed figures are rounded anyway")]
        let used = Reading::of(process).since(&before).all().nanoseconds as f64 / 1e3;
        used / f64::from(SAMPLES) / pause.as_secs_f64()
    });
    micros.iter().sum()
}
