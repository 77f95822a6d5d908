//! The commands as a shell and a script use them: completions, man pages, JSON, exit codes, and output that cannot be
//! written.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use postback_tests::{Answer, Receiver};
use serde_json::{Value, json};

use crate::support::{SECRET, Server};
use crate::terminal::{Terminal, on_a_terminal, plain};

/// Runs the program in this folder. Its standard output goes to `stdout`.
fn run_to(folder: &Path, arguments: &[&str], stdout: Stdio) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_workload"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("POSTBACK_") || name == "RUST_LOG") {
        command.env_remove(name);
    }
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped());
    command.spawn().unwrap().wait_with_output().unwrap()
}

pub fn run(folder: &Path, arguments: &[&str]) -> Output {
    run_to(folder, arguments, Stdio::piped())
}

/// The standard output of a command that must succeed.
pub fn said(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

pub fn json_of(folder: &Path, arguments: &[&str]) -> Value {
    let text = said(folder, &[arguments, &["--json"]].concat());
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
}

#[test]
fn completions_and_man_pages_know_the_commands_and_need_no_settings() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("postback.toml"), "this is no TOML").unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = said(folder.path(), &["completions", shell]);
        for part in ["workload", "deliveries", "replay", "webhook-hosts"] {
            assert!(script.contains(part), "{shell} without {part}");
        }
    }
    assert_eq!(run(folder.path(), &["completions", "tcsh"]).status.code(), Some(2));
    let page = said(folder.path(), &["man"]);
    assert!(page.contains(".TH workload") && page.contains("Exit codes:") && page.contains("listen"), "{page}");
    assert_eq!(said(folder.path(), &["man", "--dir", "pages"]), "");
    let page = std::fs::read_to_string(folder.path().join("pages/workload-deliveries-replay.1")).unwrap();
    assert!(page.contains("\\-\\-status"), "{page}");
    let output = run(folder.path(), &["man", "--dir", "postback.toml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot be written to postback.toml"), "{output:?}");
}

#[test]
fn output_that_cannot_be_written_is_a_failure_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = run_to(folder.path(), &["completions", "bash"], full.into());
    assert_eq!(output.status.code(), Some(3));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("standard output cannot be written: No space left"), "{error}");
    // The reader of the pipe ends before the program writes.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = run_to(folder.path(), &["completions", "bash"], writer.into());
    assert_eq!((output.status.code(), &*output.stderr), (Some(141), &b""[..]));
}

#[test]
fn help_lists_the_exit_codes() {
    let folder = tempfile::tempdir().unwrap();
    let help = said(folder.path(), &["--help"]);
    for code in ["\n  0    done", "\n  1    failed", "\n  2    a mistake", "\n  3    standard output", "\n  141  "] {
        assert!(help.contains(code), "{code}: {help}");
    }
    assert_eq!(run(folder.path(), &["nonsense"]).status.code(), Some(2));
    assert_eq!(run(folder.path(), &["requests", "list"]).status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_is_told_as_json() {
    let receiver = Receiver::start();
    let url = receiver.url("/in");
    let server = Server::reporting_to(&url);
    let folder = server.folder.path();
    let id = server.submit("/fail", json!({"text": "no"})).await;
    server.delivery("/fail", &id, |delivery| delivery["state"] == "delivered").await;

    let retried = json_of(folder, &["requests", "retry", &id]);
    assert_eq!(retried[0]["retry_of"], *id);
    // One id is wrong: the others are told, and the command fails.
    let output = run(folder, &["requests", "retry", &id, "nobody", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((told.as_array().unwrap().len(), &told[0]["retry_of"]), (1, &json!(id)));
    assert!(String::from_utf8_lossy(&output.stderr).contains("nobody"), "{output:?}");
    let gated = server.submit("/gated", json!({"gate": "shut"})).await;
    assert_eq!(json_of(folder, &["requests", "cancel", &gated])[0]["id"], *gated);

    let deliveries = json_of(folder, &["deliveries", "list", "--subject", &id]);
    let delivery = deliveries[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(json_of(folder, &["deliveries", "replay", &delivery])[0]["replay_of"], *delivery);
    let all = json_of(folder, &["deliveries", "replay", "--all", "--status", "dead"]);
    assert_eq!((&all["state"], &all["replayed"]), (&json!("done"), &json!(0)));

    assert_eq!(json_of(folder, &["endpoints", "disable", &url])["url"], *url);
    assert_eq!(json_of(folder, &["endpoints", "enable", &url])[0]["url"], *url);
    assert_eq!(json_of(folder, &["endpoints", "list"]), json!([]));

    let token = json_of(folder, &["tokens", "new", "ci"]);
    assert!(token["token"].as_str().unwrap().starts_with("pbk_") && token["name"] == "ci", "{token}");
    let revoked = json_of(folder, &["tokens", "revoke", "ci"]);
    assert!(revoked["id"] == token["id"] && revoked["revoked"].is_string(), "{revoked}");
}

#[test]
fn a_handler_runs_once_without_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::write(folder.join("postback.toml"), "[config]\nwebhook_url = \"https://hooks.example.com/in\"\n").unwrap();
    std::fs::write(folder.join("in.json"), r#"{"text": "hello\u001b[31m"}"#).unwrap();
    let text = said(folder, &["run", "/wait", "--input", "in.json"]);
    assert!(
        text.contains("completed in ") && text.contains("report  to https://hooks.example.com/in  {\"id\""),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'), "{text}");
    let ran = json_of(folder, &["run", "/wait", "--input", "in.json"]);
    assert_eq!((&ran["status"], &ran["result"]), (&json!("completed"), &json!("hello\u{1b}[31m")));
    let report: Value = serde_json::from_str(ran["reports"][0]["body"].as_str().unwrap()).unwrap();
    assert_eq!((&report["id"], &report["result"]), (&ran["id"], &ran["result"]));
    // Nothing is left in the folder.
    let files = std::fs::read_dir(folder).unwrap().count();
    assert_eq!(files, 2);

    // The handler runs once, and the exit code says that it has failed.
    for (route, reason) in [("/fail", "error"), ("/panic", "panic")] {
        let output = run(folder, &["run", route, "--input", "in.json", "--json"]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let ran: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&ran["status"], &ran["reason"]), (&json!("failed"), &json!(reason)), "{ran}");
    }
    // So is a mistake in the command line or in the payload.
    for (arguments, says) in [
        (&["run", "/nothing"][..], "there is no route /nothing; the routes are /"),
        (&["run", "/wait"], "does not take this payload"),
        (&["run", "/wait", "--input", "nothing.json"], "cannot read nothing.json"),
        (&["run", "/wait", "--input", "in.json", "--header", "content-type: text/plain"], "content-type"),
        (&["run", "/choosing/query", "--input", "in.json", "--query", "lang=en&tag=x"], "parameter `tag[0]`: "),
        (&["run", "/choosing/query", "--input", "in.json", "--query", "lang=a b"], "write others as %"),
    ] {
        let output = run(folder, arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(says), "{arguments:?}: {output:?}");
    }
    std::fs::write(folder.join("postback.toml"), "[server]\nmax_payload = \"1KiB\"\n").unwrap();
    std::fs::write(folder.join("in.json"), vec![b' '; 1025]).unwrap();
    let output = run(folder, &["run", "/wait", "--input", "in.json"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("1024 bytes that a payload may have"), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_of_ones_own_is_measured() {
    let server = Server::start("");
    let folder = server.folder.path();
    std::fs::write(folder.join("in.json"), "{\"text\": \"x\"}").unwrap();
    let url = server.url.clone();
    let aimed = |more: &[&'static str]| {
        let bench = ["bench", "/echo", "--input", "in.json", "--concurrency", "3", "--url"].map(str::to_owned);
        let line: Vec<String> =
            bench.into_iter().chain([url.clone()]).chain(more.iter().map(|one| (*one).to_owned())).collect();
        line
    };
    let call = |line: Vec<String>| run(folder, &line.iter().map(String::as_str).collect::<Vec<_>>());
    let output = call(aimed(&["--count", "20", "--json"]));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&told["submit"]["count"], &told["end"]["count"]), (&json!(20), &json!(20)), "{told}");
    for part in ["submit", "end"] {
        let at = |name: &str| told[part][name].as_f64().unwrap();
        assert!(0.0 < at("p50_ms") && at("p50_ms") <= at("p90_ms") && at("p99_ms") <= at("max_ms"), "{told}");
    }
    let output = call(aimed(&["--count", "2", "--no-wait"]));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("p50 ms") && text.contains("submit") && !text.contains("\nend"), "{output:?}");
    assert_eq!(server.count("request").await, 22);

    // Errors are told by their codes.
    let output = run(folder, &["bench", "/nothing", "--count", "2", "--url", &url, "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["errors"], json!({"404 not_found": 2}));
    let output = run(folder, &["bench", "/fail", "--input", "in.json", "--count", "2", "--url", &url]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("2  the request failed"), "{output:?}");

    // A load goes nowhere else by accident.
    let output = run(folder, &["bench", "/echo", "--url", "http://192.0.2.1/"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("add --remote"), "{output:?}");
    assert_eq!(run(folder, &["bench", "/echo", "--concurrency", "1001"]).status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_of_a_stopped_server_are_those_of_the_running_one() {
    let receiver = Receiver::start();
    let mut server = Server::reporting_to(&receiver.url("/in"));
    let id = server.submit("/echo", json!({"text": "x"})).await;
    server.delivery("/echo", &id, |delivery| delivery["state"] == "delivered").await;
    let folder = server.folder.path().to_owned();
    let deliveries = json_of(&folder, &["deliveries", "list"]);
    let delivery = deliveries[0]["id"].as_str().unwrap();
    let reads: [&[&str]; 5] = [
        &["requests", "list", "--status", "completed", "--since", "1h"],
        &["requests", "list", "--id", &id[..8]],
        &["requests", "show", &id],
        &["deliveries", "list", "--subject", &id],
        &["deliveries", "show", delivery],
    ];
    let running = reads.map(|read| (said(&folder, read), json_of(&folder, read)));
    server.stop();
    for (read, (text, json)) in reads.iter().zip(running) {
        assert_eq!((said(&folder, read), json_of(&folder, read)), (text, json), "{read:?}");
    }
    assert_eq!(said(&folder, &["requests", "list", "--status", "failed"]), "no request matches\n");
    for (arguments, says) in [
        (&["requests", "list", "--status", "over"][..], "in_queue, in_progress"),
        (&["requests", "show", "nobody"], "nobody"),
        (&["deliveries", "show", &id], "its deliveries are:"),
        (&["requests", "retry", &id], "is completed; only failed and cancelled requests are repeated"),
        (&["requests", "cancel", &id], "is over, so it cannot be cancelled"),
        (&["requests", "submit", "/echo"], "no server has the database"),
    ] {
        let output = run(&folder, arguments);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(says), "{arguments:?}: {output:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_a_stopped_server_take_effect_at_its_next_start() {
    let receiver = Receiver::answering(|_, before| Answer::Status(if before == 0 { 500 } else { 204 }));
    let url = receiver.url("/in");
    let settings = format!("[config]\nwebhook_url = {url:?}\n[delivery]\nschedule = [\"0s\"]\n");
    let mut server = Server::start(&settings);
    let folder = server.folder.path().to_owned();
    let failed = server.submit("/fail", json!({"text": "no"})).await;
    server.delivery("/fail", &failed, |delivery| delivery["state"] == "dead").await;
    let waiting = server.submit_with("/gated", json!({"gate": "gate"}), &[("postback-run-at", "+1h")]).await;
    server.stop();

    let cancelled = json_of(&folder, &["requests", "cancel", &waiting]);
    assert_eq!((&cancelled[0]["id"], &cancelled[0]["status"]), (&json!(waiting), &json!("cancelled")));
    let retried = json_of(&folder, &["requests", "retry", &failed]);
    let again = retried[0]["id"].as_str().unwrap().to_owned();
    let sent = said(&folder, &["deliveries", "replay", "--all", "--status", "dead"]);
    assert_eq!(sent, "1 deliveries are sent again\n");
    assert!(said(&folder, &["endpoints", "disable", "http://a.example/in"]).contains("is disabled"));
    assert!(said(&folder, &["endpoints", "disable", "https://b.example"]).contains("is disabled"));

    server.restart();
    assert_eq!(server.status("/gated", &waiting).await["status"], "cancelled");
    // The report of the first run, which is sent again, and those of the cancelled and of the repeated request.
    receiver.wait(4);
    for id in [&waiting, &failed, &again] {
        let bodies = receiver.all().into_iter().map(|hit| String::from_utf8_lossy(&hit.body).into_owned());
        assert!(bodies.clone().any(|body| body.contains(id.as_str())), "{id}: {:?}", bodies.collect::<Vec<_>>());
    }
    let disabled = json_of(&folder, &["endpoints", "list"]);
    assert_eq!(
        (&disabled[0]["url"], &disabled[1]["url"]),
        (&json!("http://a.example/in"), &json!("https://b.example"))
    );
    server.stop();
}

/// Checks that a list fits terminals of several widths, and that it has its ids, which have `of_id` characters, in full.
fn fits(folder: &Path, list: &[&str], of_id: usize) {
    let whole = said(folder, list);
    assert!(!whole.contains(['\u{1b}', '…']), "{whole}");
    for columns in [200, 80, 60, 44] {
        let text = plain(on_a_terminal(folder, list, columns));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), whole.lines().count(), "{text}");
        assert!(lines.iter().all(|line| line.chars().count() <= usize::from(columns)), "{columns}: {text}");
        let has_id = |(line, whole): (&&str, &str)| line[..of_id] == whole[..of_id];
        assert!(lines.iter().zip(whole.lines()).all(has_id), "{columns}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_fit_the_terminal_and_have_colours_there_only() {
    let mut server = Server::reporting_to("http://127.0.0.1:1/a/rather/long/path/of/a/receiver/that/is/not/there");
    let id = server.submit("/echo", json!({"text": "x"})).await;
    server.settled("/echo", &id).await;
    let id = server.submit("/fail", json!({"text": "no"})).await;
    server.settled("/fail", &id).await;
    let folder = server.folder.path().to_owned();
    let folder = folder.as_path();
    for arguments in [
        &["tokens", "new", "a-rather-long-name-of-a-partner", "--routes", "/echo,/fail,/gated", "--expires", "90d"][..],
        &[
            "endpoints",
            "disable",
            "http://127.0.0.1:1/a/rather/long/path/of/a/receiver",
            "--reason",
            "it is being moved",
        ],
    ] {
        said(folder, arguments);
    }
    fits(folder, &["nodes"], 4);
    server.stop();
    for (list, of_id) in [("requests", 36), ("deliveries", 36), ("tokens", 10), ("endpoints", 0)] {
        fits(folder, &[list, "list"], of_id);
    }
    assert!(on_a_terminal(folder, &["requests", "list"], 160).contains("\u{1b}[32mcompleted\u{1b}[0m"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_command_shows_how_far_it_is_on_a_terminal_only() {
    let server = Server::start("");
    let bench = ["bench", "/echo", "--duration", "2s", "--concurrency", "1", "--url", &server.url];
    let mut terminal = Terminal::start(server.folder.path(), &bench, (24, 100), &[]);
    terminal.wait("a bar", |text| text.contains(" % ") && text.contains(" requests") && text.contains(" left"));
    let code = terminal.ended().code();
    // The handler refuses the payload, which is empty. This test is about the bar.
    let text = terminal.wait_for("per s");
    assert!(code == Some(1) && !text.contains(" left"), "{text}");
    let output = run(server.folder.path(), &["bench", "/echo", "--count", "3", "--url", &server.url]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("requests"), "{output:?}");
}

#[test]
fn settings_are_checked_for_a_script_too() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("postback.toml"), format!("delivery.secrets = [\"{SECRET}\"]\n")).unwrap();
    let checked = json_of(folder.path(), &["check"]);
    assert_eq!(checked["settings"]["delivery.secrets"], json!(["…"]));
    // The file can be read by others, and has a secret.
    assert!(checked["warnings"].is_array());
    assert!(checked["routes"].as_array().unwrap().iter().any(|route| route["path"] == "/echo"), "{checked}");
}
