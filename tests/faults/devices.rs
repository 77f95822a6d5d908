//! Devices and neighbours that fail for a while.

use std::time::{Duration, Instant};

use postback_tests::{Operation, Shim, eventually};
use rustix::io::Errno;
use serde_json::json;
use sqlx::{Connection as _, SqliteConnection};

use crate::server::{Server, folder};

pub(crate) fn a_sync_that_fails_is_a_no_and_passes() {
    fails_for_a_while(Operation::Sync, Errno::IO);
}

pub(crate) fn a_write_that_fails_is_a_no_and_passes() {
    fails_for_a_while(Operation::Write, Errno::IO);
}

pub(crate) fn a_device_that_turns_read_only_is_a_no() {
    fails_for_a_while(Operation::Write, Errno::ROFS);
}

fn fails_for_a_while(operation: Operation, errno: Errno) {
    let folder = folder();
    let shim = Shim::build(folder.path());
    let mut server = Server::start(folder.path(), &shim.failing());
    server.accepts("before");
    server.tells_all();
    server.is_ready();
    let before = server.process.output().lines().count();
    shim.fail(operation, errno);
    server.refuses("during");
    // What a submission is told, who asks whether to send some is told too: while nobody sends any, as well.
    for _ in 0..20 {
        let (status, said) = server.readiness();
        assert_eq!(status, 503, "{said}");
        assert!(said.contains("the store has not been able to write for "), "{said}");
    }
    server.refuses("still");
    shim.heal();
    server.is_ready();
    let output = server.process.output();
    // One line for the cause, and one when it is over, from the store; from whatever else meets it, a few in all.
    for told in ["the store cannot write: ", "the store can write again, after ", "the node is not ready: "] {
        assert_eq!(output.matches(told).count(), 1, "{told:?} is told once:\n{output}");
    }
    let lines = output.lines().count() - before;
    assert!(lines <= 12, "{lines} lines:\n{output}");
    server.recovers();
    server.keeps_all();
}

pub(crate) fn a_device_that_hangs_is_told_by_readyz() {
    let folder = folder();
    let shim = Shim::build(folder.path());
    let mut server = Server::start(folder.path(), &shim.failing());
    server.accepts("before");
    server.tells_all();
    assert_eq!(server.readiness(), (200, "ready\n".to_owned()));
    shim.hang(Operation::Sync);
    // Its caller is told that nothing is known.
    server.refuses("during");
    let (status, said) = server.readiness();
    assert_eq!(status, 503, "{said}");
    assert!(said.contains("the store has been hanging in one operation for "), "{said}");
    // What needs no writer goes on.
    assert_eq!(server.last_status(), "completed");
    shim.heal();
    server.recovers();
    server.is_ready();
    server.keeps_all();
}

/// With a line in the log for each outcome that cannot be stored.
fn telling_outcomes(shim: &Shim) -> Vec<(&'static str, String)> {
    let mut variables = shim.failing().to_vec();
    variables.push(("RUST_LOG", "info,postback::worker=debug".to_owned()));
    variables
}

pub(crate) fn an_outcome_waits_for_a_failing_device() {
    let folder = folder();
    let shim = Shim::build(folder.path());
    let mut server = Server::start(folder.path(), &telling_outcomes(&shim));
    server.accepts_at("/gated", &json!({"gate": "gate", "text": "done"}));
    shim.fail(Operation::Sync, Errno::IO);
    std::fs::write(folder.path().join("gate"), "").unwrap();
    server.process.wait_for("cannot be stored, trying again");
    assert!(server.receiver.all().is_empty(), "nothing is told that is not on disk");
    shim.heal();
    server.keeps_all();
}

pub(crate) fn a_lock_of_another_process_passes() {
    let folder = folder();
    let begins = "a batch begins";
    let mut server = Server::start(folder.path(), &[("RUST_LOG", "info,postback::store::writer=trace".to_owned())]);
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
    locked("BEGIN EXCLUSIVE");
    // Until somebody waits for it: who does notices nothing, if it is not for long.
    let output = server.process.watch();
    let batches = move || output().matches(begins).count();
    let before = batches();
    let handle = runtime.handle().clone();
    let shortly = std::thread::spawn(move || {
        eventually("a batch that waits", || if batches() > before { Ok(()) } else { Err(()) });
        handle.block_on(async {
            sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
            other.close().await.unwrap();
        });
    });
    server.accepts("while it is locked for a moment");
    shortly.join().unwrap();
    server.keeps_all();
}

pub(crate) fn a_stop_on_a_failing_device_ends_and_loses_nothing() {
    let folder = folder();
    let shim = Shim::build(folder.path());
    let mut server = Server::start(folder.path(), &telling_outcomes(&shim));
    server.accepts("before");
    server.accepts_at("/gated", &json!({"gate": "gate", "text": "done"}));
    shim.fail(Operation::Sync, Errno::IO);
    std::fs::write(folder.path().join("gate"), "").unwrap();
    server.process.wait_for("cannot be stored, trying again");
    let begun = Instant::now();
    server.process.terminate();
    server.process.ended();
    // A second of grace, and what last attempts and last commits have, which is 4 s; then the next start goes on.
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    server.restart();
    server.keeps_all();
}
