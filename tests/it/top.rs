//! The command `top`, as a person at a terminal sees it.

use std::process::{Command, Stdio};

use postback_tests::Receiver;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::Server;
use crate::terminal::Terminal;

const SIZE: (u16, u16) = (40, 160);
const TOP: &[&str] = &["top", "--interval", "200ms"];

/// A server whose reports are given up at once.
fn server() -> Server {
    let settings = "[config]\nwebhook_url = \"http://127.0.0.1:1/gone\"\n[delivery]\nschedule = [\"0s\"]\n\
                    [server]\nadmin_token = \"an-admin-token-of-some-length\"\n";
    Server::start(settings)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_sees_what_the_server_does_and_ends_it_by_a_key() {
    let server = server();
    let mut top = Terminal::start(server.folder.path(), TOP, SIZE, &[]);
    top.wait("the first view", |text| {
        ["ready", "requests", "queue", "deliveries"].iter().all(|part| text.contains(part))
    });
    let id = server.submit("/fail", json!({"text": "no"})).await;
    let text = top.wait("the failed request and its dead delivery", |text| {
        let parts = [id.as_str(), "/fail", "error", "delivery", "http://127.0.0.1:1/gone"];
        parts.iter().all(|part| text.contains(part))
    });
    assert!(text.contains("▸ routes"), "{text}");
    server.submit("/gated", json!({"gate": "gate"})).await;
    top.wait_for("1 running");
    top.wait("a rate", |text| text.contains("/s accepted"));

    top.send("?");
    top.wait_for("choose a list");
    top.send("?p");
    top.wait("the pause", |text| text.contains("paused") && !text.contains("choose a list"));
    top.send("p\t\t");
    top.wait_for("▸ failed requests");
    top.send("\u{1b}[B");
    top.wait_for("from 2");
    for (rows, columns) in [(12, 60), (6, 20), (50, 200)] {
        top.resize(rows, columns);
        top.wait("the new size", |text| text.lines().count() <= usize::from(rows) && text.contains("ready"));
    }
    assert!(top.raw().contains("\u{1b}[32m") || top.raw().contains("38;5;2"), "the state has a colour");
    top.send("q");
    assert_eq!(top.ended().code(), Some(0));
    assert!(top.is_set_back());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_goes_away_and_comes_back_is_shown() {
    let mut server = server();
    let mut top = Terminal::start(server.folder.path(), TOP, SIZE, &[("NO_COLOR", "1")]);
    top.wait_for("ready");
    server.stop();
    top.wait_for("trying again");
    server.restart();
    top.wait("the server again", |text| text.contains("ready") && !text.contains("trying again"));
    let colours: Vec<_> = (30..38).map(|colour| format!("\u{1b}[{colour}m")).collect();
    assert!(!colours.iter().any(|colour| top.raw().contains(colour)) && !top.raw().contains("38;5;"), "NO_COLOR");
    top.send("\u{3}");
    assert_eq!(top.ended().code(), Some(0));
    assert!(top.is_set_back());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_works_over_the_network_and_a_signal_sets_the_terminal_back() {
    let server = server();
    let elsewhere = tempfile::tempdir().unwrap();
    let arguments = ["top", "--interval", "200ms", "--url", &server.url];
    let token = ("POSTBACK_ADMIN_TOKEN", "an-admin-token-of-some-length");
    let mut top = Terminal::start(elsewhere.path(), &arguments, SIZE, &[token]);
    top.wait_for("ready");
    top.signal(Signal::TERM);
    assert_eq!(top.ended().code(), Some(0));
    assert!(top.is_set_back());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_gets_json_and_a_pipe_is_no_terminal() {
    let receiver = Receiver::start();
    let server = Server::reporting_to(&receiver.url("/"));
    let id = server.submit("/echo", json!({"text": "x"})).await;
    server.settled("/echo", &id).await;
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_workload"));
        command.args(arguments).current_dir(server.folder.path()).stdin(Stdio::null()).output().unwrap()
    };
    let output = run(&["top", "--json", "--interval", "200ms"]);
    let figures: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&figures["status"], &figures["running"]), (&json!("ready"), &json!(0)));
    assert!(figures["requests"]["accepted"].is_number() && figures["routes"][0]["route"].is_string(), "{figures}");
    let output = run(TOP);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("use `top --json`"), "{output:?}");
    assert_eq!(run(&["top", "--interval", "1h"]).status.code(), Some(2));
}
