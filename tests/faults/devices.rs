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
    shim.fail(operation, errno);
    server.refuses("during");
    server.refuses("still");
    shim.heal();
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
    eventually("that it is ready again", || match server.readiness() {
        (200, _) => Ok(()),
        other => Err(other),
    });
    server.keeps_all();
}

pub(crate) fn an_outcome_waits_for_a_failing_device() {
    let folder = folder();
    let shim = Shim::build(folder.path());
    let mut server = Server::start(folder.path(), &shim.failing());
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
    let mut server = Server::start(folder.path(), &[]);
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
    locked("BEGIN EXCLUSIVE");
    // For less than anybody's patience: who waits notices nothing.
    let shortly = runtime.spawn(async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
        other.close().await.unwrap();
    });
    server.accepts("while it is locked for a moment");
    runtime.block_on(shortly).unwrap();
    server.keeps_all();
}

pub(crate) fn a_stop_on_a_failing_device_ends_and_loses_nothing() {
    let folder = folder();
    let shim = Shim::build(folder.path());
    let mut server = Server::start(folder.path(), &shim.failing());
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
