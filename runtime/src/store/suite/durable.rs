//! What survives: the file, its owner, crashes, a full disk.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::FutureExt as _;
use sqlx::{Connection as _, SqliteConnection};
use tokio::sync::Semaphore;

use super::world::{ROUTE, World, attach, current, delivering, id, running, submit};
use crate::id::NodeId;
use crate::report::Ends;
use crate::store::record::{DeliveryState, Next, Registration, RequestState, Settled};
use crate::store::{Durability, Error, OpenError, Place, Store};
use crate::webhook::Webhook;

fn path(world: &World) -> &Path {
    match &world.options.place {
        Place::Sqlite { path, .. } => path,
        Place::Memory { .. } => panic!("a case for files"),
    }
}

/// What a crash would have left: the files as they are, while the store is open.
fn crashed(world: &World) -> World {
    let copy = World::sqlite();
    for file in ["store.db", "store.db-wal"] {
        std::fs::copy(world.dir.path().join(file), copy.dir.path().join(file)).unwrap();
    }
    copy
}

async fn shell(path: &Path) -> SqliteConnection {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path).create_if_missing(true);
    SqliteConnection::connect_with(&options).await.unwrap()
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let mut world = World::sqlite();
    world.options.place = Place::Sqlite { path: path(&world).into(), durability: Durability::Full };
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
    assert_eq!((report.subject.as_str(), report.attempt), ("queued", 1));
    // New rows come after those that were there.
    submit(&store, world.request("new")).await;
    attach(&store);
    let rows = store.claim_requests(5).await.unwrap().rows;
    assert_eq!(rows.iter().map(|row| row.claim.id.as_str()).collect::<Vec<_>>(), ["settled", "new"]);
}

#[tokio::test]
async fn crash_before_commit_leaves_running() {
    let world = World::sqlite();
    let (store, faults) = world.open_faulty().await;
    let claimed = running(&world, &store, "r").await;
    faults.hold();
    let mut settle = Box::pin(store.settle_request(claimed.claim.clone(), world.done(), vec![world.report("r")]));
    assert!(settle.as_mut().now_or_never().is_none());
    faults.held().await;
    let before = crashed(&world);
    faults.release();
    current(settle.await);
    let after = crashed(&world);

    let store = before.open().await;
    assert_eq!(store.request(&id("r")).await.unwrap().unwrap().state, RequestState::Running);
    assert!(store.deliveries("r").await.unwrap().is_empty());
    let recovered = store.recover(3).await.unwrap();
    assert_eq!((recovered.requests, recovered.reports, recovered.lost.len()), (1, 0, 0));
    attach(&store);
    let again = store.claim_requests(1).await.unwrap().rows.remove(0);
    assert_eq!((again.claim.epoch, again.crashes, again.failures), (2, 1, 0));
    // The run that was thought dead comes back.
    let late = store.settle_request(claimed.claim, world.done(), vec![]).await.unwrap();
    assert_eq!(late, Settled::Stale);

    crash_after_commit_keeps_outcome(after).await;
}

async fn crash_after_commit_keeps_outcome(world: World) {
    let store = world.open().await;
    let record = store.request(&id("r")).await.unwrap().unwrap();
    assert_eq!(record.state, RequestState::Settled(world.done()));
    assert_eq!(store.recover(3).await.unwrap().requests, 0);
    assert_eq!(store.claim_reports(5).await.unwrap().rows.len(), 1);
}

#[tokio::test]
async fn accepted_rows_survive_a_crash() {
    let world = World::sqlite();
    let store = world.open().await;
    let mut held = store.attach_reports(Arc::new(Semaphore::new(1)));
    submit(&store, world.request("r")).await;
    store.post_durably(vec![world.report("x"), world.report("x")]).await.unwrap();
    assert_eq!(held.recv().await.unwrap().row.attempt, 1);
    let store = crashed(&world).into_store().await;
    assert_eq!(store.request(&id("r")).await.unwrap().unwrap().state, RequestState::Queued);
    assert_eq!(store.deliveries("x").await.unwrap().len(), 2);
    assert_eq!(store.recover(3).await.unwrap().reports, 1);
    assert_eq!(store.claim_reports(5).await.unwrap().rows.len(), 2);
}

impl World {
    /// The store outlives its folder's name, not its files.
    async fn into_store(self) -> Store {
        let store = self.open().await;
        drop(self.dir.keep());
        store
    }
}

#[tokio::test]
async fn rescue_limit_fails_poison_request() {
    let world = World::sqlite();
    let webhook = Webhook::new("https://example.com/told").unwrap();
    let registration = Registration { webhooks: vec![webhook], on: Ends::FAILED };
    let mut epochs = Vec::new();
    for run in 1..=3 {
        let store = world.open().await;
        let recovered = store.recover(3).await.unwrap();
        assert_eq!((recovered.requests, recovered.lost.len()), (usize::from(run > 1), 0));
        if run == 1 {
            submit(&store, world.request("poison")).await;
        }
        attach(&store);
        let claimed = store.claim_requests(1).await.unwrap().rows.remove(0);
        assert_eq!(claimed.crashes, run - 1);
        epochs.push(claimed.claim.epoch);
        current(store.register(claimed.claim, registration.clone()).await);
        // The process ends with the row in its hands.
        store.close().await;
    }
    let store = world.open().await;
    let recovered = store.recover(3).await.unwrap();
    assert_eq!((recovered.requests, recovered.lost.len()), (0, 1));
    let lost = &recovered.lost[0];
    assert_eq!((lost.crashes, lost.registration.as_ref()), (3, Some(&registration)));
    epochs.push(lost.claim.epoch);
    assert_eq!(epochs, [1, 2, 3, 4]);
    attach(&store);
    assert!(store.claim_requests(1).await.unwrap().rows.is_empty());
    current(store.settle_request(lost.claim.clone(), world.done(), vec![]).await);
    assert_eq!(store.recover(3).await.unwrap().requests, 0);
}

#[tokio::test]
async fn rescued_report_has_unknown_attempt() {
    let world = World::sqlite();
    let store = world.open().await;
    let first = delivering(&store, world.report("x")).await;
    store.close().await;
    let store = world.open().await;
    assert_eq!(store.recover(3).await.unwrap().reports, 1);
    let record = store.deliveries("x").await.unwrap().remove(0);
    assert_eq!((record.state, record.attempts), (DeliveryState::Pending, 1));
    assert!(record.last.unwrap().error.unwrap().contains("unknown"));
    let second = store.claim_reports(1).await.unwrap().rows.remove(0);
    assert_eq!((second.claim.epoch, second.attempt), (2, 2));
    let late = store.settle_report(first.claim, world.attempt(200), Next::Delivered).await.unwrap();
    assert_eq!(late, Settled::Stale);
    current(store.settle_report(second.claim, world.attempt(200), Next::Delivered).await);
}

#[tokio::test]
async fn nothing_is_born_claimed_before_what_an_earlier_process_left() {
    let world = World::sqlite();
    let store = world.open().await;
    running(&world, &store, "old").await;
    store.close().await;
    let store = world.open().await;
    store.recover(3).await.unwrap();
    let mut held = store.attach_requests(vec![ROUTE.into()], Arc::new(Semaphore::new(5)));
    submit(&store, world.request("new")).await;
    assert!(held.recv().now_or_never().is_none());
    let rows = store.claim_requests(5).await.unwrap().rows;
    assert_eq!(rows.iter().map(|row| row.claim.id.as_str()).collect::<Vec<_>>(), ["old", "new"]);
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
async fn what_is_no_database_of_ours_is_refused() {
    let world = World::sqlite();
    std::fs::write(path(&world), "no database at all, but a text of some length".repeat(50)).unwrap();
    assert!(matches!(world.try_open().await, Err(OpenError::Backend { .. })));

    let world = World::sqlite();
    std::fs::create_dir(path(&world)).unwrap();
    assert!(matches!(world.try_open().await, Err(OpenError::NotWritable { .. })));

    let mut world = World::sqlite();
    let missing = world.dir.path().join("missing").join("store.db");
    world.options.place = Place::Sqlite { path: missing, durability: Durability::Full };
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
    let opened = crate::store::sqlite::open_tuned(path(&world), &clock, move |options| {
        options.pragma("max_page_count", limit.load(Ordering::SeqCst).to_string())
    });
    let store = Store::start(opened.await.unwrap(), &world.options, None, clock);
    let large = |n: u32| crate::store::NewRequest { body: vec![7; 8_000].into(), ..world.request(&n.to_string()) };
    let mut accepted = 0;
    let error = loop {
        match store.submit(large(accepted)).await {
            Ok(_) => accepted += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(&error, Error::Backend(cause) if cause.to_string().contains("full")), "{error:?}");
    // Reads go on, and nothing of what was refused is there.
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
    let large = |n: u32| crate::store::NewRequest { body: vec![7; 3 << 20].into(), ..world.request(&n.to_string()) };
    for n in 0..4 {
        submit(&store, large(n)).await;
    }
    // The writer tidies between batches: before this one was answered, it had after those.
    store.barrier().await.unwrap();
    assert!(size() > 3 << 20, "{}", size());
}

#[tokio::test]
async fn statements_find_their_rows_by_index() {
    let world = World::sqlite();
    world.open().await.close().await;
    let mut conn = shell(path(&world)).await;
    let settle = "UPDATE request SET state = 2, finished = 1, node = NULL \
                  FROM (SELECT value ->> 0 AS id, value ->> 1 AS epoch FROM json_each('[]')) AS j \
                  WHERE request.id = j.id AND request.epoch = j.epoch AND request.state = 1 RETURNING seq";
    let deliver = "UPDATE report SET state = 2, finished = 1, node = NULL \
                   FROM (SELECT unhex(value ->> 0) AS id, value ->> 1 AS epoch FROM json_each('[]')) AS j \
                   WHERE report.id = j.id AND report.epoch = j.epoch AND report.state = 1 RETURNING seq";
    let claim = "SELECT seq FROM request WHERE state = 0 AND due <= 5 AND route IN (SELECT value FROM json_each('[]')) \
                 ORDER BY due, seq LIMIT 3";
    let claim_report = "SELECT seq FROM report WHERE state = 0 AND due <= 5 ORDER BY due, seq LIMIT 3";
    let claim_parked =
        "SELECT seq FROM report WHERE state = -1 AND endpoint = 'a' AND due <= 5 ORDER BY due, seq LIMIT 3";
    let parked = "SELECT min(endpoint) FROM report WHERE state = -1 AND endpoint > 'a'";
    let enable =
        "SELECT seq FROM report WHERE state = -2 AND held = (SELECT seq FROM disabled WHERE url = 'a') ORDER BY seq";
    let give_up = "SELECT seq FROM report WHERE state = -2 AND due < 5 ORDER BY due, seq LIMIT 3";
    let purge = "SELECT seq FROM request WHERE state >= 2 AND finished < 5 ORDER BY finished LIMIT 3";
    for (sql, index) in [
        (settle, "SEARCH request USING INDEX sqlite_autoindex_request_1 (id=?)"),
        (deliver, "SEARCH report USING INDEX sqlite_autoindex_report_1 (id=?)"),
        (claim, "SEARCH request USING COVERING INDEX request_due (due<?)"),
        (claim_report, "SEARCH report USING COVERING INDEX report_due (due<?)"),
        (claim_parked, "SEARCH report USING COVERING INDEX report_parked (endpoint=? AND due<?)"),
        (parked, "SEARCH report USING COVERING INDEX report_parked (endpoint>?)"),
        (enable, "SEARCH report USING COVERING INDEX report_held (held=?)"),
        (give_up, "SEARCH report USING COVERING INDEX report_held_due (due<?)"),
        (purge, "SEARCH request USING INDEX request_finished (finished<?)"),
    ] {
        let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
        let rows = sqlx::query(explain).fetch_all(&mut conn).await.unwrap();
        let plan: Vec<String> = rows.iter().map(|row| sqlx::Row::get(row, 3)).collect();
        assert!(plan.iter().any(|step| step == index), "{sql}: {plan:?}");
        assert!(!plan.iter().any(|step| step.contains("TEMP B-TREE")), "{sql}: {plan:?}");
    }
}
