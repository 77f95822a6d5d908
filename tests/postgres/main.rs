//! Tests of a workload server whose store is in PostgreSQL. The tests start PostgreSQL themselves, in a temporary folder.

mod moving;
mod network;
mod pgbouncer;
mod progress;
mod proxy;
#[path = "../../runtime/store/src/suite/server.rs"]
mod server;
mod tls;
mod transactions;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use postback_tests::need::{self, trial};
use postback_tests::{Process, Receiver, client, eventually, example};
use serde_json::{Value, json};

use self::server::Server as Postgres;

/// A password that must not be shown. The server of the test accepts every password.
const PASSWORD: &str = "s3cret-of-this-test";
const ADMIN: &str = "an-admin-token-of-some-length";

fn main() -> ExitCode {
    let arguments = need::arguments();
    let needs = || [need::program("bash"), postgres()];
    let needs_pgbouncer = || [need::program("bash"), need::program("pgbouncer"), postgres()];
    let trials = vec![
        trial("accepted_work_survives_kills_of_the_server", needs(), accepted_work_survives_kills_of_the_server),
        trial("a_stopped_postgresql_is_waited_for", needs(), a_stopped_postgresql_is_waited_for),
        trial("several_servers_are_one_service", needs(), several_servers_are_one_service),
        trial(
            "accepted_work_survives_kills_and_stops_of_nodes",
            needs(),
            accepted_work_survives_kills_and_stops_of_nodes,
        ),
        trial("the_example_starts_three_nodes", needs(), the_example_starts_three_nodes),
        trial("a_store_moves_from_sqlite_to_postgresql", needs(), moving::a_store_moves_from_sqlite_to_postgresql),
        trial(
            "the_progress_goes_on_where_a_killed_node_has_left_it",
            needs(),
            progress::the_progress_goes_on_where_a_killed_node_has_left_it,
        ),
        trial(
            "a_node_that_was_stopped_tells_no_progress_after_the_end",
            needs(),
            progress::a_node_that_was_stopped_tells_no_progress_after_the_end,
        ),
        trial(
            "a_transaction_is_taken_once_by_one_of_several_servers",
            needs(),
            transactions::a_transaction_is_taken_once_by_one_of_several_servers,
        ),
        trial("posters_share_a_database", needs(), transactions::posters_share_a_database),
        trial(
            "connections_are_encrypted_and_the_server_is_checked",
            [need::program("bash"), need::program("openssl"), postgres()],
            tls::connections_are_encrypted_and_the_server_is_checked,
        ),
        trial("pgbouncer_serves_whole_sessions", needs_pgbouncer(), pgbouncer::pgbouncer_serves_whole_sessions),
        trial(
            "pgbouncer_with_shared_sessions_is_refused",
            needs_pgbouncer(),
            pgbouncer::pgbouncer_with_shared_sessions_is_refused,
        ),
        trial("accepted_work_survives_cut_connections", needs(), network::accepted_work_survives_cut_connections),
        trial(
            "a_node_that_was_cut_off_overwrites_nothing",
            needs(),
            network::a_node_that_was_cut_off_overwrites_nothing,
        ),
        trial(
            "connections_that_the_network_has_forgotten_are_replaced",
            needs(),
            network::connections_that_the_network_has_forgotten_are_replaced,
        ),
        trial("commands_work_and_show_no_password", needs(), commands_work_and_show_no_password),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn postgres() -> need::Need {
    let found = std::fs::read_dir("/usr/lib/postgresql").is_ok_and(|mut versions| versions.next().is_some());
    if found { Ok(()) } else { need::program("initdb") }
}

/// A database, a receiver, and the folder of a workload server.
struct Stage {
    postgres: Postgres,
    receiver: Receiver,
    folder: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    client: reqwest::Client,
    accepted: Vec<String>,
}

impl Stage {
    fn new() -> Self {
        Self::on(Postgres::start().unwrap())
    }

    fn on(postgres: Postgres) -> Self {
        let receiver = Receiver::start();
        let folder = tempfile::tempdir().unwrap();
        let url = postgres.url("jobs").replace("postback@", &format!("postback:{PASSWORD}@"));
        let settings = format!(
            "[config]\nwebhook_url = {:?}\n[store]\nurl = {url:?}\n[delivery]\nschedule = [\"0s\", \"1s\", \"1s\"]\n\
             [server]\nadmin_token = \"{ADMIN}\"\n",
            receiver.url("/")
        );
        std::fs::write(folder.path().join("postback.toml"), settings).unwrap();
        std::fs::write(folder.path().join("admin-token"), ADMIN).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { postgres, receiver, folder, runtime, client: client(), accepted: Vec::new() }
    }

    fn launch(&self, arguments: &[&str]) -> Process {
        launch(self.folder.path(), arguments)
    }

    /// Posts a text to the server. Returns the HTTP status.
    fn submit(&mut self, url: &str, text: &str) -> u16 {
        let post = self.client.post(format!("{url}/echo")).json(&json!(text)).timeout(Duration::from_mins(1));
        let answer = self.runtime.block_on(async {
            let response = post.send().await?;
            Ok::<_, reqwest::Error>((response.status().as_u16(), response.bytes().await?))
        });
        // The server may be killed while it answers.
        let (status, body) = match answer {
            Ok(answer) => answer,
            Err(error) => {
                eprintln!("no answer from {url}: {error:?}");
                return 0;
            }
        };
        if status == 200 {
            let answer: Value = serde_json::from_slice(&body).unwrap();
            self.accepted.push(answer["id"].as_str().unwrap().to_owned());
        }
        status
    }

    fn readiness(&self, url: &str) -> (u16, String) {
        let get = self.client.get(format!("{url}/readyz"));
        self.runtime.block_on(async {
            let response = get.send().await.expect("an answer");
            (response.status().as_u16(), response.text().await.expect("a whole answer"))
        })
    }

    /// Checks that the outcome of each accepted request is reported, with one `webhook-id`, and that its status is known.
    fn has_kept_all(&self, url: &str) {
        assert!(!self.accepted.is_empty());
        for id in &self.accepted {
            assert_eq!(self.receiver.wait_for(id).json()["status"], "completed");
            let get = self.client.get(format!("{url}/echo/{id}?wait=30"));
            let status: Value = self.runtime.block_on(async {
                let response = get.send().await.expect("an answer");
                serde_json::from_slice(&response.bytes().await.unwrap()).expect("a status")
            });
            assert_eq!(status["status"], "completed", "{id}");
            let all = self.receiver.all();
            let mut ids: Vec<&str> =
                all.iter().filter(|one| one.json()["id"] == **id).map(|one| one.header("webhook-id")).collect();
            ids.dedup();
            assert_eq!(ids.len(), 1, "{id}: {ids:?}");
        }
    }
}

fn launch(folder: &Path, arguments: &[&str]) -> Process {
    let variables = [("POSTBACK_SERVER__LISTEN", "127.0.0.1:0")];
    Process::start(env!("CARGO_BIN_EXE_workload"), folder, arguments, &variables)
}

/// Starts a server whose store is at another URL than that of `postback.toml`.
fn launch_at(folder: &Path, url: &str) -> Process {
    let variables = [("POSTBACK_SERVER__LISTEN", "127.0.0.1:0"), ("POSTBACK_STORE__URL", url)];
    Process::start(env!("CARGO_BIN_EXE_workload"), folder, &["serve"], &variables)
}

/// Starts a server whose store is at this URL, and returns what it says when it has refused to start.
fn refused(folder: &Path, url: &str) -> String {
    let mut process = launch_at(folder, url);
    let status = process.ended();
    let said = process.output();
    assert!(!status.success(), "{url}: {said}");
    assert!(!said.contains(PASSWORD) && !said.contains("panicked"), "{url}: {said}");
    assert!(!said.contains("trying again"), "it was tried again, although that cannot help: {url}: {said}");
    said
}

fn accepted_work_survives_kills_of_the_server() {
    let mut stage = Stage::new();
    for round in 0..4 {
        let mut process = stage.launch(&[]);
        let url = process.ready();
        for n in 0..20 {
            assert_eq!(stage.submit(&url, &format!("{round} {n}")), 200);
        }
        // The last requests of a round may still be running, and their reports may be under way.
        process.kill();
        assert!(!process.output().contains("panicked") && !process.output().contains(PASSWORD), "{}", process.output());
    }
    let mut process = stage.launch(&[]);
    let url = process.ready();
    stage.has_kept_all(&url);
    process.terminate();
    assert_eq!(process.ended().code(), Some(0), "{}", process.output());
}

fn a_stopped_postgresql_is_waited_for() {
    let mut stage = Stage::new();
    let mut process = stage.launch(&[]);
    let url = process.ready();
    assert_eq!(stage.submit(&url, "before"), 200);
    stage.postgres.command("stop");
    assert_eq!(stage.submit(&url, "meanwhile"), 503);
    let (status, text) = stage.readiness(&url);
    assert!(status == 503 && text.contains("has not been able to write"), "{status} {text}");
    let said = process.wait_for("the store cannot write");
    assert!(said.contains("check the host and the port") && !said.contains(PASSWORD), "{said}");
    stage.postgres.command("start");
    eventually("a submission that is accepted", || match stage.submit(&url, "after") {
        200 => Ok(()),
        other => Err(other),
    });
    eventually("a server that is ready", || match stage.readiness(&url) {
        (200, _) => Ok(()),
        other => Err(other),
    });
    process.wait_for("the store can write again");
    // A crash of PostgreSQL between two requests costs no request.
    for n in 0..3 {
        stage.postgres.command("restart");
        assert_eq!(stage.submit(&url, &format!("after restart {n}")), 200);
    }
    stage.has_kept_all(&url);
    process.terminate();
    assert_eq!(process.ended().code(), Some(0), "{}", process.output());
}

fn several_servers_are_one_service() {
    let mut stage = Stage::new();
    let mut all: Vec<Process> = (0..3).map(|_| stage.launch(&[])).collect();
    let urls: Vec<String> = all.iter_mut().map(Process::ready).collect();
    for n in 0..12 {
        assert_eq!(stage.submit(&urls[n % 3], &n.to_string()), 200);
    }
    // Each server answers for the requests of all, and waits for ends on the others.
    for url in &urls {
        stage.has_kept_all(url);
    }
    let nodes = stage.launch(&["nodes", "--url", &urls[0], "--token-file", "admin-token"]).text();
    assert_eq!(nodes.lines().filter(|line| line.contains("  live  process ")).count(), 3, "{nodes}");
    assert_eq!(nodes.matches("(answers)").count(), 1, "{nodes}");
    all[1].wait_for("2 other nodes use the database now");
    // A killed server is taken over while the others work.
    for n in 0..6 {
        assert_eq!(stage.submit(&urls[2], &format!("before the kill {n}")), 200);
    }
    all[2].kill();
    assert_eq!(stage.submit(&urls[0], "after the kill"), 200);
    stage.has_kept_all(&urls[1]);
    // A stopped server is taken over, too, and ends when it goes on.
    all[1].stop();
    let stopped = format!("(process {} on", all[1].id());
    let said = all[0].wait_for(&stopped);
    assert!(!said.contains(PASSWORD), "{said}");
    // The server may have closed the connection, which was idle meanwhile.
    stage.client = client();
    assert_eq!(stage.submit(&urls[0], "after the stop"), 200);
    all[1].go_on();
    assert_eq!(all[1].ended().code(), Some(1));
    assert!(all[1].output().contains("other processes have taken over"), "{}", all[1].output());
    stage.has_kept_all(&urls[0]);
    all[0].terminate();
    assert_eq!(all[0].ended().code(), Some(0), "{}", all[0].output());
}

fn the_example_starts_three_nodes() {
    let stage = Stage::new();
    let url = stage.postgres.url("three_nodes");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/nodes/start");
    let program = example("quickstart");
    let hook = stage.receiver.url("/");
    let variables =
        [("POSTBACK_STORE__URL", url.as_str()), ("POSTBACK_CONFIG__WEBHOOK_URL", hook.as_str()), ("PORTS", "0 0 0")];
    let folder = tempfile::tempdir().unwrap();
    let mut nodes = Process::start("bash", folder.path(), &[script, program.to_str().unwrap()], &variables);
    let output = nodes.watch();
    let urls = eventually("three nodes that are ready", || {
        let output = output();
        let ready = output.lines().filter_map(|line| Some(line.split("postback ready on ").nth(1)?.trim().to_owned()));
        <[String; 3]>::try_from(ready.collect::<Vec<_>>()).map_err(|_| output.clone())
    });
    let ended: Value = stage.runtime.block_on(async {
        let post = stage.client.post(format!("{}/greet", urls[0])).json(&json!({"name": "Ada"})).send();
        let body = post.await.expect("an answer").bytes().await.unwrap();
        let id = serde_json::from_slice::<Value>(&body).unwrap()["id"].as_str().unwrap().to_owned();
        let get = stage.client.get(format!("{}/greet/{id}?wait=30", urls[1])).send();
        serde_json::from_slice(&get.await.expect("an answer").bytes().await.unwrap()).unwrap()
    });
    assert_eq!(ended["result"]["data"], "hello Ada", "{ended}");
    stage.receiver.wait_for(ended["id"].as_str().unwrap());
    nodes.terminate();
    nodes.ended();
}

fn accepted_work_survives_kills_and_stops_of_nodes() {
    let run = std::process::Command::new(env!("CARGO_BIN_EXE_crash")).args(["--nodes", "3", "--kills", "12"]).output();
    let run = run.unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stdout));
}

fn commands_work_and_show_no_password() {
    let mut stage = Stage::new();
    let folder = stage.folder.path().to_owned();
    let run = |arguments: &[&str]| {
        let mut process = launch(&folder, arguments);
        let status = process.ended();
        assert!(!process.output().contains(PASSWORD), "{}", process.output());
        (status.success(), process.output())
    };
    let (fine, said) = run(&["check"]);
    assert!(fine && said.contains("are fine"), "{said}");
    let (fine, said) = run(&["tokens", "new", "partner"]);
    assert!(fine, "{said}");
    let (fine, said) = run(&["tokens", "list"]);
    assert!(fine && said.contains("partner"), "{said}");
    let mut process = stage.launch(&[]);
    let url = process.ready();
    let said = process.wait_for("postgres://postback@localhost/postgres?search_path=jobs (schema jobs;");
    assert!(!said.contains(PASSWORD), "{said}");
    // The server has read the token from the database, so it asks for one.
    let (fine, said) = run(&["tokens", "list"]);
    assert!(fine && said.contains("partner"), "{said}");
    assert_eq!(stage.submit(&url, "one"), 401);
    // The server learns of a token that is made while it runs.
    let (fine, said) = run(&["tokens", "new", "second"]);
    assert!(fine, "{said}");
    let token = said.split_whitespace().find(|word| word.starts_with("pbk_")).unwrap();
    process.wait_for("the tokens in the database have changed; there are 2 now");
    let post = stage.client.post(format!("{url}/echo")).bearer_auth(token).json(&json!("two"));
    let status = stage.runtime.block_on(async { post.send().await.expect("an answer").status() });
    assert_eq!(status, 200);
}
