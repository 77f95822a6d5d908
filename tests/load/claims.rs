//! The mode `claims`: how soon a request runs that is posted to one of two idle workload servers on one PostgreSQL.
//!
//! The time begins with the commit of the request. PostgreSQL notes its time (`track_commit_timestamp`) before it
//! writes the commit to the disk, so that write is part of the measured time. The time ends when the handler begins, by
//! the clock of the same machine. Between two posts, everything goes to sleep.
//!
//! There are two sides. In the first one, both servers are idle, so the server that gets a request runs it. In the
//! second one, that server has no free slot, so the other one runs the request, as soon as it hears of it.

use std::time::Duration;

use postback_tests::client;
use serde::Deserialize;
use serde_json::Value;
use sqlx::postgres::PgConnection;
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::runtime::Runtime;

use crate::numbers::{milliseconds, quantile};
use crate::postgres::Server as Postgres;
use crate::receiver::Receiver;
use crate::rounds::Load;
use crate::{Options, folder, nodes, roundtrip};

/// The number of requests of each side, besides the first ones that do not count.
const REQUESTS: usize = 300;
const FIRST: usize = 20;
/// The pause before each request, and before the question for its end, which must not wake a server. It is longer than
/// the pauses of servers that have something to do.
const PAUSE: Duration = Duration::from_millis(120);
/// The 99th percentile that is asked for.
const ASKED: Duration = Duration::from_millis(20);
const SCHEMA: &str = "claims";
/// The run that makes a server busy goes on until this file exists in its folder.
const GATE: &str = "gate";

pub(crate) fn run(options: &Options) -> bool {
    let Some(postgres) = nodes::durable_postgres() else { return true };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
    runtime.block_on(note_commits(&postgres)).expect("the database");
    let (folder, receiver, url) = (folder(), Receiver::start(), postgres.url(SCHEMA));
    let start = |name: &str, more: &str| {
        let folder = folder.path().join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        let variables = [("POSTBACK_STORE__URL", &*url)];
        roundtrip::start_server_adding(&folder, &receiver, &options.log, &variables, more)
    };
    let measure = |name, [first, second]: [&Load; 2], runs_in| {
        let database = nodes::database(&postgres).options([("search_path", SCHEMA)]);
        let database = runtime.block_on(database.connect()).expect("the database");
        let routes = [first, second].map(|load| load.on("/began").server);
        Side { runtime: &runtime, client: client(), routes, database }.measure(name, runs_in)
    };

    let ((first, first_load), (second, second_load)) = (start("first", ""), start("second", ""));
    let mut held = measure("both are idle", [&first_load, &second_load], first.id());
    held &= roundtrip::stop(first) & roundtrip::stop(second);

    // A server that may run one request gets one that does not end, while the other one is not there.
    let (mut first, first_load) = start("first", "[worker]\nconcurrency = 1\n");
    let body = format!(r#"{{"gate":"{GATE}"}}"#);
    runtime.block_on(submit(&first_load.client, &first_load.on("/guarded").server, &body));
    first.wait_for(" begins");
    let (second, second_load) = start("second", "");
    held &= measure("the other one must run it", [&first_load, &second_load], second.id());
    std::fs::write(folder.path().join("first").join(GATE), "").expect("a file");
    held & roundtrip::stop(first) & roundtrip::stop(second)
}

/// Makes PostgreSQL note the time of each commit.
async fn note_commits(postgres: &Postgres) -> Result<(), sqlx::Error> {
    let mut conn = nodes::database(postgres).connect().await?;
    sqlx::raw_sql("ALTER SYSTEM SET track_commit_timestamp = on").execute(&mut conn).await?;
    conn.close().await?;
    postgres.command("restart");
    Ok(())
}

/// Submits a request, and returns its id.
async fn submit(client: &reqwest::Client, url: &str, body: &str) -> String {
    let post = client.post(url).header("content-type", "application/json").body(body.to_owned());
    let answer = post.send().await.and_then(reqwest::Response::error_for_status).expect("an accepted request");
    let answer: Value = answer.json().await.expect("JSON");
    answer["id"].as_str().expect("an id").to_owned()
}

/// Two servers. Requests go to the first one.
struct Side<'a> {
    runtime: &'a Runtime,
    client: reqwest::Client,
    /// The URLs of the route on both servers.
    routes: [String; 2],
    database: PgConnection,
}

/// The result of a run.
#[derive(Deserialize)]
struct Began {
    at: i64,
    process: u32,
}

impl Side<'_> {
    /// Measures the requests, and prints the figures. Returns whether they are as good as asked, and all ran in the
    /// process `runs_in`.
    fn measure(&mut self, name: &str, runs_in: u32) -> bool {
        let (mut times, mut elsewhere) = (Vec::new(), 0);
        for number in 0..FIRST + REQUESTS {
            std::thread::sleep(PAUSE);
            let (time, process) = self.runtime.block_on(self.one());
            if number >= FIRST {
                times.push(time);
                elsewhere += usize::from(process != runs_in);
            }
        }
        times.sort_unstable();
        let at = |part| quantile(&times, part);
        let held = elsewhere == 0 && at(0.99) < ASKED;
        println!(
            "{name}: p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms from the commit of a submit to its run; {elsewhere} of {REQUESTS} ran elsewhere; asked: p99 < {:.0} ms: {}",
            milliseconds(at(0.50)),
            milliseconds(at(0.99)),
            milliseconds(at(1.0)),
            milliseconds(ASKED),
            if held { "held" } else { "MISSED" },
        );
        held
    }

    /// Makes a request. Returns the time from its commit to its run, and the process that ran it.
    async fn one(&mut self) -> (Duration, u32) {
        let [first, second] = &self.routes;
        let id = submit(&self.client, first, "{}").await;
        tokio::time::sleep(PAUSE).await;
        let get = self.client.get(format!("{second}/{id}?wait=30")).send().await.expect("an answer");
        let status: Value = get.json().await.expect("JSON");
        let began: Began = serde_json::from_value(status["result"].clone()).unwrap_or_else(|_| panic!("{status}"));
        // The row of a body never changes, so its transaction is that of the submit.
        let sql = "SELECT (extract(epoch FROM pg_xact_commit_timestamp(b.xmin)) * 1000000)::bigint FROM request_body AS b \
                   JOIN request AS r USING (seq) WHERE r.id = $1";
        let committed: i64 = sqlx::query_scalar(sql).bind(&id).fetch_one(&mut self.database).await.expect("a commit");
        (Duration::from_micros(u64::try_from(began.at - committed).unwrap_or(0)), began.process)
    }
}
