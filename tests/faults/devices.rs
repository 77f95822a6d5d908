//! Tests with a storage device that fails for a while, and with another process that locks the database.

use std::time::{Duration, Instant};

use postback_tests::{Operation, Shim, eventually};
use rustix::io::Errno;
use serde_json::json;
use sqlx::{Connection as _, SqliteConnection};

use crate::server::{Server, folder};

pub(crate) fn submissions_are_refused_while_syncs_fail() {
    fails_for_a_while(Operation::Sync, Errno::IO);
}

pub(crate) fn submissions_are_refused_while_writes_fail() {
    fails_for_a_while(Operation::Write, Errno::IO);
}

pub(crate) fn submissions_are_refused_while_the_device_is_read_only() {
    fails_for_a_while(Operation::Write, Errno::ROFS);
}

fn fails_for_a_while(operation: Operation, errno: Errno) {
    let folder = folder();
    let shim = Shim::build(folder.path());
    let mut server = Server::start(folder.path(), &shim.failing());
    server.accepts("before");
    server.has_reported_all();
    server.is_ready();
    let before = server.process.output().lines().count();
    shim.fail(operation, errno);
    server.refuses("during");
    // `/readyz` says the same as an answer to a submission, even while nobody submits requests.
    for _ in 0..20 {
        let (status, text) = server.readiness();
        assert_eq!(status, 503, "{text}");
        assert!(text.contains("the store has not been able to write for "), "{text}");
    }
    server.refuses("still");
    shim.heal();
    server.is_ready();
    let output = server.process.output();
    // The store logs one line for the cause, and one line at the end. Other parts of the server log few lines.
    for line in ["the store cannot write: ", "the store can write again, after ", "the node is not ready: "] {
        assert_eq!(output.matches(line).count(), 1, "{line:?} must be logged once:\n{output}");
    }
    let lines = output.lines().count() - before;
    assert!(lines <= 12, "{lines} lines:\n{output}");
    server.recovers();
    server.keeps_all();
}

pub(crate) fn readyz_reports_a_device_that_hangs() {
    let folder = folder();
    let shim = Shim::build(folder.path());
    let mut server = Server::start(folder.path(), &shim.failing());
    server.accepts("before");
    server.has_reported_all();
    assert_eq!(server.readiness(), (200, "ready\n".to_owned()));
    shim.hang(Operation::Sync);
    // The answer says that the outcome of the submission is unknown.
    server.refuses("during");
    let (status, text) = server.readiness();
    assert_eq!(status, 503, "{text}");
    assert!(text.contains("the store has been hanging in one operation for "), "{text}");
    // Reads go on, because they do not need the writer of the store.
    assert_eq!(server.last_status(), "completed");
    shim.heal();
    server.recovers();
    server.is_ready();
    server.keeps_all();
}

/// Environment variables for a failing device, with a log line for each outcome that cannot be stored.
fn logging_outcomes(shim: &Shim) -> Vec<(&'static str, String)> {
    let mut variables = shim.failing().to_vec();
    variables.push(("RUST_LOG", "info,postback::worker=debug".to_owned()));
    variables
}

pub(crate) fn an_outcome_waits_for_a_failing_device() {
    let folder = folder();
    let shim = Shim::build(folder.path());
    let mut server = Server::start(folder.path(), &logging_outcomes(&shim));
    server.accepts_at("/gated", &json!({"gate": "gate", "text": "done"}));
    shim.fail(Operation::Sync, Errno::IO);
    std::fs::write(folder.path().join("gate"), "").unwrap();
    server.process.wait_for("cannot be stored, trying again");
    assert!(server.receiver.all().is_empty(), "a report was sent before its outcome was on disk");
    shim.heal();
    server.keeps_all();
}

pub(crate) fn a_lock_of_another_process_makes_the_server_wait() {
    let folder = folder();
    let batch_begins = "a batch begins";
    let mut server = Server::start(folder.path(), &[("RUST_LOG", "info,postback_store::writer=trace".to_owned())]);
    server.accepts("before");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let url = format!("sqlite:{}", server.database().display());
    let mut other = runtime.block_on(SqliteConnection::connect(&url)).unwrap();
    let mut locked = |sql: &'static str| {
        runtime.block_on(sqlx::raw_sql(sql).execute(&mut other)).unwrap();
    };
    locked("BEGIN EXCLUSIVE");
    server.refuses("while it is locked for long");
    locked("ROLLBACK");
    server.recovers();
    server.is_ready();
    let output = server.process.watch();
    let batches = move || output().matches(batch_begins).count();
    // Counted before the lock is taken: a report is still being recorded, and its batch may be the one that waits.
    let before = batches();
    locked("BEGIN EXCLUSIVE");
    // The lock is released as soon as the store waits for it. A submission that waits only briefly is accepted.
    let handle = runtime.handle().clone();
    let unlocking = std::thread::spawn(move || {
        eventually("a batch that waits for the lock", || if batches() > before { Ok(()) } else { Err(()) });
        handle.block_on(async {
            sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
            other.close().await.unwrap();
        });
    });
    server.accepts("while it is locked for a moment");
    unlocking.join().unwrap();
    server.keeps_all();
}

pub(crate) fn a_stop_on_a_failing_device_ends_and_loses_nothing() {
    let folder = folder();
    let shim = Shim::build(folder.path());
    let mut server = Server::start(folder.path(), &logging_outcomes(&shim));
    server.accepts("before");
    server.accepts_at("/gated", &json!({"gate": "gate", "text": "done"}));
    shim.fail(Operation::Sync, Errno::IO);
    std::fs::write(folder.path().join("gate"), "").unwrap();
    server.process.wait_for("cannot be stored, trying again");
    let begun = Instant::now();
    server.process.terminate();
    server.process.ended();
    // The grace is 1 s, and the last attempts and commits get 4 s more. What was not stored is done again after the
    // start.
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    server.restart();
    server.keeps_all();
}
