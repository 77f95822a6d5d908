//! Cases for SQLite's file alone: restarts, its owner, its schema, a full disk, its write-ahead log.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use metrics_util::CompositeKey;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshot};
use sqlx::{Connection as _, SqliteConnection};

use super::world::{World, attach, current, id, running, submit};
use crate::record::RequestState;
use crate::{Durability, Error, Location, OpenError, Store};
use postback_wire::id::NodeId;
use postback_wire::names::metric;

fn path(world: &World) -> &Path {
    let Location::Sqlite { path, .. } = &world.options.place else { panic!("a case for files") };
    path
}

async fn shell(path: &Path) -> SqliteConnection {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path).create_if_missing(true);
    SqliteConnection::connect_with(&options).await.unwrap()
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let mut world = World::sqlite();
    world.options.place = Location::Sqlite { path: path(&world).into(), durability: Durability::Full };
    let store = world.open().await;
    assert!(store.is_durable());
    submit(&store, world.request("queued")).await;
    let settled = running(&world, &store, "settled").await;
    assert_eq!(settled.claim.id, id("queued"), "the older one first");
    current(store.settle_request(settled.claim, world.done(), vec![world.report("queued")]).await);
    store.close().await;
    assert!(!world.dir.path().join("store.db-wal").exists());

    let store = world.open().await;
    let record = store.request(&id("queued")).await.unwrap().unwrap();
    assert_eq!(record.state, RequestState::Settled(world.done()));
    assert_eq!(store.request(&id("settled")).await.unwrap().unwrap().state, RequestState::Queued);
    let report = store.claim_reports(1).await.unwrap().rows.remove(0);
    assert_eq!((&*report.subject, report.attempt), ("queued", 1));
    // The store returns the requests of the earlier process before new requests.
    submit(&store, world.request("new")).await;
    attach(&store);
    let rows = store.claim_requests(5).await.unwrap().rows;
    assert_eq!(rows.iter().map(|row| row.claim.id.as_str()).collect::<Vec<_>>(), ["settled", "new"]);
}

#[tokio::test]
async fn restarted_process_has_new_node_id() {
    assert_ne!(NodeId::generate(), NodeId::generate());
    let world = World::sqlite();
    for _ in 0..2 {
        world.open().await.close().await;
    }
    let mut conn = shell(path(&world)).await;
    let nodes: i64 = sqlx::query_scalar("SELECT count(DISTINCT id) FROM node").fetch_one(&mut conn).await.unwrap();
    assert_eq!(nodes, 2);
}

#[tokio::test]
async fn second_process_refused() {
    let world = World::sqlite();
    let store = world.open().await;
    match world.try_open().await {
        Err(OpenError::InUse { pid, .. }) => assert_eq!(pid, std::process::id().to_string()),
        other => panic!("{other:?}"),
    }
    submit(&store, world.request("r")).await;
    store.close().await;
    world.open().await;
}

#[tokio::test]
async fn newer_schema_refused_and_untouched() {
    let world = World::sqlite();
    world.open().await.close().await;
    let mut conn = shell(path(&world)).await;
    sqlx::query("UPDATE meta SET value = 1000 WHERE key = 'postback schema'").execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
    let before = std::fs::read(path(&world)).unwrap();
    match world.try_open().await {
        Err(error @ OpenError::Newer { found: 1_000, .. }) => assert!(error.to_string().contains("1000")),
        other => panic!("{other:?}"),
    }
    assert_eq!(std::fs::read(path(&world)).unwrap(), before);
}

#[tokio::test]
async fn a_file_of_another_program_is_refused() {
    let world = World::sqlite();
    std::fs::write(path(&world), "no database at all, but a text of some length".repeat(50)).unwrap();
    assert!(matches!(world.try_open().await, Err(OpenError::Backend { .. })));

    let world = World::sqlite();
    std::fs::create_dir(path(&world)).unwrap();
    assert!(matches!(world.try_open().await, Err(OpenError::NotWritable { .. })));

    let mut world = World::sqlite();
    let missing = world.dir.path().join("missing").join("store.db");
    world.options.place = Location::Sqlite { path: missing, durability: Durability::Full };
    assert!(matches!(world.try_open().await, Err(OpenError::NotWritable { .. })));

    let world = World::sqlite();
    let mut conn = shell(path(&world)).await;
    sqlx::query("CREATE TABLE theirs (a)").execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
    let before = std::fs::read(path(&world)).unwrap();
    assert!(matches!(world.try_open().await, Err(OpenError::Backend { .. })));
    assert_eq!(std::fs::read(path(&world)).unwrap(), before);
}

#[cfg(unix)]
#[tokio::test]
async fn its_files_are_for_this_user_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::sqlite();
    let store = world.open().await;
    submit(&store, world.request("r")).await;
    for file in ["store.db", "store.db-wal", "store.db-shm", "store.db.lock"] {
        let mode = std::fs::metadata(world.dir.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

#[tokio::test]
async fn disk_full_then_room() {
    let world = World::sqlite();
    let pages = Arc::new(AtomicU32::new(60));
    let limit = pages.clone();
    let clock = world.clock();
    let opened = crate::sqlite::open_tuned(path(&world), &clock, move |conn| {
        conn.pragma_update_and_check(None, "max_page_count", limit.load(Ordering::SeqCst), |_| Ok(()))
    });
    let store = Store::start(opened.await.unwrap(), &world.options, None, None, clock);
    let large = |n: u32| crate::NewRequest { body: vec![7; 8_000].into(), ..world.request(&n.to_string()) };
    let mut accepted = 0;
    let error = loop {
        match store.submit(large(accepted)).await {
            Ok(_) => accepted += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(&error, Error::Backend(cause) if cause.to_string().contains("full")), "{error:?}");
    // The store can still read while the disk is full. The request for which `submit` returned an error is not in the
    // store.
    assert!(store.request(&id(&accepted.to_string())).await.unwrap().is_none());
    pages.store(1_000_000, Ordering::SeqCst);
    submit(&store, large(accepted)).await;
    for n in 0..=accepted {
        assert!(store.request(&id(&n.to_string())).await.unwrap().is_some(), "{n}");
    }
}

#[tokio::test]
async fn the_log_is_copied_into_the_file() {
    let world = World::sqlite();
    let store = world.open().await;
    let size = || std::fs::metadata(path(&world)).unwrap().len();
    let large = |n: u32| crate::NewRequest { body: vec![7; 3 << 20].into(), ..world.request(&n.to_string()) };
    for n in 0..8 {
        submit(&store, large(n)).await;
    }
    // `barrier` returns after the writer has copied the WAL into the database file, because the writer does this
    // between batches.
    store.barrier().await.unwrap();
    assert!(size() > 3 << 20, "{}", size());
}

#[tokio::test]
pub(super) async fn reader_pins_wal() {
    let metrics = DebuggingRecorder::new();
    // A metrics recorder for the current thread is enough, because the whole test runs on this thread.
    let recorded = metrics::set_default_local_recorder(&metrics);
    let world = World::sqlite();
    let store = world.open().await;
    let log = || std::fs::metadata(world.dir.path().join("store.db-wal")).unwrap().len();
    let large = |n: u32| crate::NewRequest { body: vec![7; 4 << 20].into(), ..world.request(&n.to_string()) };
    submit(&store, large(0)).await;
    let mut reader = shell(path(&world)).await;
    sqlx::raw_sql("BEGIN; SELECT count(*) FROM request").execute(&mut reader).await.unwrap();
    // The reader's open transaction does not block the writer. The WAL keeps the pages that the reader needs.
    for n in 1..20 {
        submit(&store, large(n)).await;
    }
    store.barrier().await.unwrap();
    assert!(log() > 76 << 20, "{}", log());
    let seen = |snapshot: Snapshot| {
        let gauge = |(key, _, _, value): (CompositeKey, _, _, _)| match value {
            DebugValue::Gauge(bytes) if key.key().name() == metric::STORE_LOG_BYTES => Some(bytes.into_inner()),
            _ => None,
        };
        snapshot.into_vec().into_iter().find_map(gauge).unwrap()
    };
    assert!(seen(metrics.snapshotter().snapshot()) > f64::from(70 << 20));
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM request").fetch_one(&mut reader).await.unwrap();
    assert_eq!(count, 1);
    // After the reader has ended its transaction, the writer copies the WAL into the database file and truncates the
    // WAL.
    sqlx::raw_sql("ROLLBACK").execute(&mut reader).await.unwrap();
    for n in 20..25 {
        submit(&store, large(n)).await;
    }
    store.barrier().await.unwrap();
    assert!(log() < 16 << 20, "{}", log());
    drop(recorded);
}

#[tokio::test]
pub(super) async fn room_is_given_back_after_a_purge() {
    let world = World::sqlite();
    let store = world.open().await;
    attach(&store);
    let body = bytes::Bytes::from(vec![7; 4 << 20]);
    submit(&store, crate::NewRequest { body, ..world.request("large") }).await;
    let claimed = store.claim_requests(1).await.unwrap().rows.remove(0);
    current(store.settle_request(claimed.claim, world.done(), vec![]).await);
    let mut reader = shell(path(&world)).await;
    let mut pages = async || sqlx::query_scalar::<_, i64>("PRAGMA page_count").fetch_one(&mut reader).await.unwrap();
    let before = pages().await;
    world.advance(std::time::Duration::from_secs(1));
    assert_eq!(store.purge(world.now(), 100).await.unwrap(), 1);
    // Between batches, the writer returns the free pages of the database file to the file system.
    store.barrier().await.unwrap();
    let after = pages().await;
    assert!(after <= before - 256, "{before} pages, then {after}");
}
