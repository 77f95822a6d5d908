//! Starts with wrong settings, files, addresses or arguments.

use std::fs::Permissions;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use postback_tests::{Answer, Process, Receiver};
use serde_json::json;

use crate::support::{SECRET, Server};

/// Starts a server that must fail to start. Returns its exit code and its output.
fn refused(settings: &str, arguments: &[&str], variables: &[(&str, &str)]) -> (i32, String) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("postback.toml"), settings).unwrap();
    refused_in(folder.path(), arguments, variables)
}

fn refused_in(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> (i32, String) {
    let mut process = Process::start(env!("CARGO_BIN_EXE_workload"), folder, arguments, variables);
    let code = process.ended().code().expect("an exit code");
    let output = process.output();
    assert!(!output.contains("panicked"), "{output}");
    assert!(output.contains("error: "), "{output}");
    (code, output)
}

fn check((code, output): (i32, String), expected: i32, says: &[&str]) {
    assert_eq!(code, expected, "{output}");
    for says in says {
        assert!(output.contains(says), "{says:?} is missing in:\n{output}");
    }
}

#[test]
fn all_mistakes_in_the_settings_are_reported_together() {
    let settings = "[servr]\nlisten = \"x\"\n[worker]\nconcurency = 3\ntimeout = \"soon\"\n";
    let says = ["servr", "server", "concurency", "concurrency", "worker.timeout", "postback.toml"];
    check(refused(settings, &[], &[]), 2, &says);
}

#[test]
fn an_error_in_the_toml_names_the_line_and_not_its_text() {
    let (code, output) = refused("[delivery]\nsecrets = [\"whsec_very-private\n", &[], &[]);
    assert!(!output.contains("very-private"), "{output}");
    check((code, output), 2, &["postback.toml:2:"]);
}

#[test]
fn an_error_in_a_variable_names_the_variable_and_not_its_value() {
    let (code, output) = refused("", &[], &[("POSTBACK_WORKER__CONCURRENCY", "hunter2")]);
    assert!(!output.contains("hunter2"), "{output}");
    check((code, output), 2, &["POSTBACK_WORKER__CONCURRENCY"]);
}

#[test]
fn variables_that_platforms_set_are_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let variables = [("POSTBACK_PORT", "tcp://10.0.0.1:80"), ("POSTBACK_SERVICE_HOST", "10.0.0.1"), ("POSTBACK_", "x")];
    let arguments = ["--listen", "127.0.0.1:0"];
    Process::start(env!("CARGO_BIN_EXE_workload"), folder.path(), &arguments, &variables).ready();
}

#[test]
fn flags_win_over_the_environment_and_the_environment_over_the_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("postback.toml"), "[server]\nlisten = \"nonsense\"\n").unwrap();
    let variables = [("POSTBACK_SERVER__LISTEN", "127.0.0.2:0")];
    let program = env!("CARGO_BIN_EXE_workload");
    let url = Process::start(program, folder.path(), &[], &variables).ready();
    assert!(url.starts_with("http://127.0.0.2:"), "{url}");
    let url = Process::start(program, folder.path(), &["--listen", "127.0.0.1:0"], &variables).ready();
    assert!(url.starts_with("http://127.0.0.1:"), "{url}");
}

#[test]
fn an_address_of_another_machine_is_an_error() {
    // This address is reserved for documentation, so no machine has it.
    let (code, output) = refused("", &["--listen", "192.0.2.1:0"], &[]);
    assert!(!output.contains("another program"), "{output}");
    check((code, output), 1, &["192.0.2.1:0", "this machine does not have the address 192.0.2.1", "0.0.0.0"]);
}

#[test]
fn a_port_in_use_is_an_error() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    check(refused("", &["--listen", &address], &[]), 1, &[&address, "another program", "--listen"]);
}

#[test]
fn a_database_that_cannot_be_written_is_an_error() {
    let refused = |folder: &Path, file: &str, says: &[&str]| {
        let variables =
            [("POSTBACK_STORE__URL", &*format!("sqlite:{file}")), ("POSTBACK_SERVER__LISTEN", "127.0.0.1:0")];
        let (code, output) = refused_in(folder, &[], &variables);
        check((code, output), 1, &[&[file], says].concat());
    };
    let folder = tempfile::tempdir().unwrap();
    refused(folder.path(), "/nowhere/at/all.db", &["folder"]);
    std::fs::create_dir(folder.path().join("taken.db")).unwrap();
    refused(folder.path(), "taken.db", &["directory"]);
    assert!(folder.path().join("taken.db").is_dir());
    // Root may write files and folders with any mode, so root skips this part.
    if !rustix::process::geteuid().is_root() {
        let forbid = |path: &Path, mode| std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        let file = folder.path().join("mine.db");
        std::fs::write(&file, "").unwrap();
        forbid(&file, 0o400);
        refused(folder.path(), "mine.db", &["ermission denied"]);
        forbid(folder.path(), 0o500);
        refused(folder.path(), "new.db", &["ermission denied"]);
        forbid(folder.path(), 0o700);
    }
}

#[test]
fn a_file_that_is_not_a_database_is_an_error_and_is_not_changed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("notes.txt");
    std::fs::write(&file, "these are my notes, and long enough to be no database header by chance".repeat(20)).unwrap();
    let before = std::fs::read(&file).unwrap();
    let variables = [("POSTBACK_STORE__URL", "sqlite:notes.txt"), ("POSTBACK_SERVER__LISTEN", "127.0.0.1:0")];
    check(refused_in(folder.path(), &[], &variables), 1, &["notes.txt"]);
    assert_eq!(std::fs::read(&file).unwrap(), before);
}

#[test]
fn the_error_for_a_database_in_use_names_the_process() {
    let server = Server::start("");
    let pid = server.process.id().to_string();
    check(refused_in(server.folder.path(), &["--listen", "127.0.0.1:0"], &[]), 1, &["in use", &pid, "store.url"]);
}

#[tokio::test]
async fn a_second_server_is_refused_and_does_not_harm_the_first() {
    let mut server = Server::start("");
    let before = server.submit("/echo", json!("before")).await;
    check(refused_in(server.folder.path(), &["--listen", "127.0.0.1:0"], &[]), 1, &["in use"]);
    // If the first server had lost its file locks, the next program that opens and closes the database would delete the
    // write-ahead log. This count opens and closes the database.
    server.count("request").await;
    let after = server.submit("/echo", json!("after")).await;
    server.kill_and_restart();
    for id in [before, after] {
        server.status("/echo", &id).await;
    }
}

#[tokio::test]
async fn a_database_newer_than_the_program_is_an_error_and_is_not_changed() {
    use sqlx::{Connection as _, Executor as _, SqliteConnection};

    let mut server = Server::start("");
    server.process.terminate();
    server.process.ended();
    let file = server.folder.path().join("workload.db");
    let open = async || SqliteConnection::connect(&format!("sqlite:{}", file.display())).await.unwrap();
    let mut connection = open().await;
    connection.execute("UPDATE meta SET value = 9999 WHERE key = 'postback schema'").await.unwrap();
    connection.close().await.unwrap();

    check(refused_in(server.folder.path(), &["--listen", "127.0.0.1:0"], &[]), 1, &["9999", "newer", "store.url"]);
    let schema: i64 = sqlx::query_scalar("SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'postback schema'")
        .fetch_one(&mut open().await)
        .await
        .unwrap();
    assert_eq!(schema, 9999);
}

#[test]
fn certificates_that_cannot_be_read_are_an_error() {
    let settings = "[delivery]\nca_file = \"/nowhere/ca.pem\"\n";
    check(refused(settings, &["--listen", "127.0.0.1:0"], &[]), 1, &["/nowhere/ca.pem", "delivery.ca_file"]);
}

#[test]
fn the_error_for_an_unknown_command_names_a_known_one() {
    let (code, output) = refused("", &["serv"], &[]);
    check((code, output), 2, &["serv", "serve"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_never_printed() {
    const TOKEN: &str = "hunter2-in-the-query";
    // The first attempt fails, and the report to the side URL is refused. The server logs both.
    let receiver = Receiver::answering(|_, before| Answer::Status(if before == 0 { 500 } else { 204 }));
    let settings = format!(
        "[config]\nwebhook_url = {:?}\nside_url = {:?}\n[delivery]\nsecrets = [{SECRET:?}]\nschedule = [\"0s\", \"1s\"]\n[log]\nlevel = \"trace\"\n",
        receiver.url(&format!("/hook?token={TOKEN}")),
        receiver.url(&format!("/side?token={TOKEN}")),
    );
    let mut server = Server::start(&settings);
    let id = server.submit("/spawn", json!({})).await;
    let delivery = server.delivery("/spawn", &id, |delivery| delivery["state"] == "delivered").await;
    server.process.wait_for("delivery.allow_networks");
    let webhook = receiver.wait_for(&id);
    assert_eq!(webhook.path, format!("/hook?token={TOKEN}"));
    assert!(!webhook.header("webhook-signature").is_empty());
    server.stop();
    let mut checked = Process::start(env!("CARGO_BIN_EXE_workload"), server.folder.path(), &["check"], &[]);
    assert_eq!(checked.ended().code(), Some(0));

    for output in [server.process.output(), checked.output(), delivery.to_string()] {
        assert!(output.contains("/hook"), "the receiver's path must be shown:\n{output}");
        // Only the part after the prefix is secret. A text may contain the prefix.
        for secret in [&SECRET["whsec_".len()..], TOKEN] {
            assert!(!output.contains(secret), "{secret}:\n{output}");
        }
    }
}

#[test]
fn without_certificates_on_the_machine_it_starts_with_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    // These variables name the machine's certificates. Here they name files that do not exist.
    let variables = [("SSL_CERT_FILE", "/nowhere.pem"), ("SSL_CERT_DIR", "/nowhere")];
    let arguments = ["--listen", "127.0.0.1:0"];
    let mut process = Process::start(env!("CARGO_BIN_EXE_workload"), folder.path(), &arguments, &variables);
    process.ready();
    process.wait_for("certificates");
}

#[test]
fn check_says_what_would_be_served() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start(env!("CARGO_BIN_EXE_workload"), folder.path(), &["check"], &[]);
    let output = process.wait_for("are fine");
    assert_eq!(process.ended().code(), Some(0));
    assert!(output.contains("POST /nested/plain") && output.contains("workload.rs:"), "{output}");
    assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none(), "`check` must not create a file");
}

#[test]
fn check_refuses_a_webhook_that_is_not_a_valid_url() {
    check(refused("[config]\nwebhook_url = \"nonsense\"\n", &["check"], &[]), 2, &["config.webhook_url", "absolute"]);
}

#[test]
fn help_and_version_need_no_settings() {
    for (argument, says) in [("--help", "Usage"), ("--version", "workload 0.0.0")] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("postback.toml"), "nonsense").unwrap();
        let mut process = Process::start(env!("CARGO_BIN_EXE_workload"), folder.path(), &[argument], &[]);
        process.wait_for(says);
        assert_eq!(process.ended().code(), Some(0));
    }
}

#[test]
fn check_warns_of_a_variable_with_one_underscore() {
    let folder = tempfile::tempdir().unwrap();
    let variables = [("POSTBACK_SERVER_LISTEN", "127.0.0.1:0")];
    let mut process = Process::start(env!("CARGO_BIN_EXE_workload"), folder.path(), &["check"], &variables);
    assert_eq!(process.ended().code(), Some(0));
    let output = process.output();
    assert!(output.contains("warning: the environment variable POSTBACK_SERVER_LISTEN is ignored"), "{output}");
    assert!(output.contains("did you mean POSTBACK_SERVER__LISTEN"), "{output}");
}

#[test]
fn the_flag_config_may_come_before_and_after_a_command() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("other.toml"), "[sever]\n").unwrap();
    for arguments in [
        vec!["--config", "other.toml"],
        vec!["serve", "--config", "other.toml"],
        vec!["check", "--config", "other.toml"],
        vec!["--config", "other.toml", "check"],
        vec!["endpoints", "--config", "other.toml", "list"],
        vec!["endpoints", "list", "--config", "other.toml"],
        vec!["--config", "other.toml", "endpoints", "list"],
    ] {
        let refusal = refused_in(folder.path(), &arguments, &[]);
        check(refusal, 2, &["unknown key sever (other.toml:1); did you mean server?"]);
    }
}

#[test]
fn flags_of_serve_are_refused_before_another_command() {
    check(refused("", &["--listen", "127.0.0.1:0", "check"], &[]), 2, &["--listen belongs to `serve`"]);
    check(refused("", &["--inspect", "check"], &[]), 2, &["--inspect belongs to `serve`"]);
}

#[test]
fn the_error_for_a_wrong_webhook_url_has_no_hint_for_a_missing_one() {
    let (code, output) = refused("[config]\nwebhook_url = 5\n", &[], &[]);
    assert!(!output.contains("--inspect"), "{output}");
    check((code, output), 2, &["config.webhook_url (", "expected a string"]);
}
