//! What only a server can do to the store: it stops, it ends connections, it refuses, or another process takes over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};

use super::server::Server;
use super::world::{World, attach, current, id, running, submit};
use crate::health::Trouble;
use crate::record::{DeliveryState, NewRequest, Next, RequestState, Settled, Submitted};
use crate::shutdown::Shutdown;
use crate::{DatabaseUrl, Error, Location, OpenError, Options, Store};
use postback_wire::id::{NodeId, RequestId};
use postback_wire::report::Outcome;
use postback_wire::time::{Clock, Timestamp};

/// Opens a connection like `psql`, to the schema of the store.
pub(super) async fn shell(url: &DatabaseUrl) -> PgConnection {
    let options = url.reveal().parse::<PgConnectOptions>().unwrap();
    let options = options.options([("search_path", url.schema())]).application_name("shell");
    options.connect().await.unwrap()
}

pub(super) async fn run(conn: &mut PgConnection, sql: &str) -> u64 {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(conn).await.unwrap().rows_affected()
}

pub(super) async fn number(conn: &mut PgConnection, sql: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(conn).await.unwrap()
}

/// Ends the connections of all stores to this server. Returns how many there were.
async fn end_connections(conn: &mut PgConnection, which: &str) -> i64 {
    let sql = format!(
        "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE pid <> pg_backend_pid() \
         AND application_name LIKE 'postback%' AND ({which})"
    );
    number(conn, &sql).await
}

fn options(url: &str) -> Options {
    Options::at(Location::Postgres { url: url.parse().unwrap() })
}

async fn open(url: &str) -> Result<Store, OpenError> {
    Store::open(options(url), NodeId::generate(), Clock::system()).await
}

fn text(error: &dyn std::error::Error) -> String {
    let cause = error.source().map(|cause| format!(": {}", text(cause)));
    format!("{error}{}", cause.unwrap_or_default())
}

/// What a caller of the store knows of one request: its id, and whether its settlement was acknowledged.
struct Known {
    id: RequestId,
    settled: bool,
}

/// Submits, claims, settles and delivers until `stop` is true. Returns the requests that the store has acknowledged.
async fn load(store: &Store, name: usize, stop: &AtomicBool) -> Vec<Known> {
    let mut known = Vec::new();
    for n in 0.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let id = RequestId::stored(&format!("{name}-{n}"));
        let request = NewRequest::new(id.clone(), "/a", "{}", Timestamp::default());
        match store.submit(request).await {
            Ok(Submitted::New) => known.push(Known { id, settled: false }),
            Ok(other) => panic!("{other:?}"),
            // The caller got an error, so it may not rely on the request.
            Err(Error::Backend(_)) => continue,
            Err(error) => panic!("{error:?}"),
        }
        let Ok(batch) = store.claim_requests(8).await else { continue };
        for row in batch.rows {
            let webhook = postback_wire::webhook::Target::parse("https://example.com/in");
            let report = crate::NewReport::to(webhook, row.claim.id.as_str(), "{}".into(), Timestamp::default());
            let id = row.claim.id.clone();
            match store.settle_request(row.claim, Outcome::completed(None, Timestamp::default()), vec![report]).await {
                // The store may answer that a settlement is stale only if somebody else has settled the request.
                Ok(Settled::Current) => known.push(Known { id, settled: true }),
                Ok(Settled::Stale) => panic!("{id} was settled by somebody else"),
                Err(_) => {}
            }
        }
    }
    known
}

/// Checks that every acknowledged request is there, and that each settled request has exactly one report.
async fn check(store: &Store, known: &[Known]) {
    for Known { id, settled } in known {
        let record = store.request(id).await.unwrap().unwrap_or_else(|| panic!("{id} is lost"));
        let reports = store.deliveries(id.as_str()).await.unwrap().len();
        let is_settled = matches!(record.state, RequestState::Settled(_));
        assert!(is_settled || !settled, "the outcome of {id} is lost");
        assert_eq!(reports, usize::from(is_settled), "{id}");
    }
}

/// Runs a load of four callers while `trouble` happens, and checks that nothing is lost.
async fn under_load(url: &str, trouble: impl AsyncFnOnce(&Store)) {
    let store = open(url).await.unwrap();
    attach_a(&store);
    let (stop, tasks) = (Arc::new(AtomicBool::new(false)), Shutdown::new());
    let callers = (0..4).map(|name| {
        let (store, stop) = (store.clone(), stop.clone());
        tasks.spawn(async move { load(&store, name, &stop).await })
    });
    let callers: Vec<_> = callers.collect();
    trouble(&store).await;
    // The store works again: it answers.
    while store.submit(NewRequest::new(RequestId::generate(), "/a", "", Timestamp::default())).await.is_err() {}
    stop.store(true, Ordering::SeqCst);
    let known: Vec<Known> = join_all(callers).await.into_iter().flat_map(Result::unwrap).collect();
    assert!(known.iter().any(|known| known.settled));
    check(&store, &known).await;
    store.close().await;
    let store = open(url).await.unwrap();
    check(&store, &known).await;
    // What was claimed by a caller that got an error is recovered once.
    store.recover(9).await.unwrap();
    assert_eq!(store.counts().await.unwrap().running, 0);
    store.close().await;
}

fn attach_a(store: &Store) {
    drop(store.attach_requests(vec!["/a".into()], Arc::new(tokio::sync::Semaphore::new(0))));
}

/// Waits until the store has committed `n` more batches.
async fn batches(conn: &mut PgConnection, n: i64) {
    let sql = "SELECT coalesce(max(commits), 0) FROM node WHERE NOT is_over";
    let before = number(conn, sql).await;
    while number(conn, sql).await < before + n {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL; run it with --include-ignored"]
async fn nothing_is_lost_when_the_server_crashes() {
    let server = Server::start().unwrap();
    let url = server.url("crashes");
    let database: DatabaseUrl = url.parse().unwrap();
    under_load(&url, async |store| {
        for _ in 0..3 {
            let mut conn = shell(&database).await;
            batches(&mut conn, 20).await;
            drop(conn);
            tokio::task::block_in_place(|| server.command("restart"));
        }
        let mut conn = shell(&database).await;
        while store.barrier().await.is_err() {}
        batches(&mut conn, 5).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL; run it with --include-ignored"]
async fn nothing_is_lost_when_connections_are_ended() {
    let server = Server::start().unwrap();
    let url = server.url("ends");
    let database: DatabaseUrl = url.parse().unwrap();
    under_load(&url, async |_| {
        let mut conn = shell(&database).await;
        for round in 0..30 {
            batches(&mut conn, 5).await;
            // At first only the connection that writes, then all of them.
            let which = if round < 20 { "query LIKE '%INSERT%' OR query LIKE '%COMMIT%'" } else { "true" };
            end_connections(&mut conn, which).await;
        }
    })
    .await;
}

/// The condition that selects the session with the lock of this world.
fn holder(world: &World) -> String {
    let key = crate::postgres::tests::lock_key(world.database().schema());
    format!("pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid::bigint = {})", key & 0xffff_ffff)
}

#[tokio::test]
#[ignore = "needs PostgreSQL; run it with --include-ignored"]
async fn lost_locks_are_taken_again() {
    let server = Server::start().unwrap();
    let url = server.url("lost");
    let store = open(&url).await.unwrap();
    let mut conn = shell(&url.parse().unwrap()).await;
    // The writer looks at its locks again after an error of its own connection.
    assert!(end_connections(&mut conn, "true").await >= 2);
    store.submit(NewRequest::new(id("r"), "/a", "", Timestamp::default())).await.unwrap();
    // A process that starts now is not alone, so it does not end the node.
    let other = open(&url).await.unwrap();
    assert_eq!(other.recover(3).await.unwrap().others, 1);
    store.submit(NewRequest::new(id("s"), "/a", "", Timestamp::default())).await.unwrap();
    store.close().await;
    other.close().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL; run it with --include-ignored"]
async fn who_was_taken_over_writes_nothing_more() {
    let world = World::postgres();
    let store = world.open().await;
    let claimed = running(&world, &store, "r").await;
    let mut conn = shell(world.database()).await;
    assert!(end_connections(&mut conn, &holder(&world)).await >= 1);
    let other = world.open().await;
    assert_eq!(other.recover(3).await.unwrap().requests, 1);

    let error = store.settle_request(claimed.claim.clone(), world.done(), vec![]).await.unwrap_err();
    assert!(text(&error).contains("taken over"), "{}", text(&error));
    assert_eq!(store.broken().await, Trouble::Ended);
    assert!(store.submit(world.request("x")).await.is_err());
    assert!(other.request(&id("x")).await.unwrap().is_none());
    assert_eq!(other.request(&id("r")).await.unwrap().unwrap().state, RequestState::Queued);
    attach(&other);
    let again = other.claim_requests(1).await.unwrap().rows.remove(0);
    current(other.settle_request(again.claim, world.done(), vec![]).await);
}

#[tokio::test]
#[ignore = "needs PostgreSQL; run it with --include-ignored"]
async fn a_database_that_cannot_be_used_is_refused_with_advice() {
    let refused = async |url: &str| {
        let error = open(url).await.unwrap_err();
        let text = text(&error);
        assert!(!text.contains('\n'), "{text}");
        text
    };
    let world = World::postgres();
    let url = world.database().clone();
    let at = |change: &dyn Fn(&str) -> String| {
        let path = format!("/postgres?host={}", url.reveal().split("host=").nth(1).unwrap());
        change(&path)
    };
    // A schema with tables of another program.
    let mut conn = shell(&url).await;
    run(&mut conn, "CREATE SCHEMA theirs; CREATE TABLE theirs.t (a integer)").await;
    let text = refused(&at(&|path| format!("postgres://postback@localhost{path}&search_path=theirs"))).await;
    assert!(text.contains("another program") && text.contains("search_path=NAME"), "{text}");
    // A database that does not exist, and one with another encoding.
    let other = |name: &str| at(&|path| format!("postgres://postback@localhost{path}").replace("/postgres?", name));
    let text = refused(&other("/missing?")).await;
    assert!(text.contains("create it") && text.contains("3D000"), "{text}");
    run(&mut conn, "CREATE DATABASE ascii ENCODING 'SQL_ASCII' TEMPLATE template0").await;
    let text = refused(&other("/ascii?")).await;
    assert!(text.contains("SQL_ASCII") && text.contains("UTF8"), "{text}");
    // A user without privileges, before and after the operator has made a schema for it.
    run(&mut conn, "CREATE ROLE limited LOGIN").await;
    let limited = at(&|path| format!("postgres://limited@localhost{path}&search_path=limited_schema"));
    let text = refused(&limited).await;
    assert!(text.contains("grant the privilege") && text.contains("42501"), "{text}");
    run(&mut conn, "CREATE SCHEMA limited_schema AUTHORIZATION limited").await;
    let store = open(&limited).await.unwrap();
    store.submit(NewRequest::new(id("r"), "/a", "", Timestamp::default())).await.unwrap();
    store.close().await;
    // A user that does not exist, and a server that is not there.
    let text = refused(&at(&|path| format!("postgres://nobody:s3cret@localhost{path}"))).await;
    assert!(text.contains("refuses the user") && !text.contains("s3cret"), "{text}");
    let text = refused("postgres://u:s3cret@localhost/db?host=/tmp/no-such-folder").await;
    assert!(text.contains("check the host") && !text.contains("s3cret"), "{text}");
    assert!(text.contains("postgres://u@localhost/db"), "{text}");
    conn.close().await.unwrap();
}

/// While the server refuses to write, callers get errors with advice. Afterwards the store writes again.
#[tokio::test]
#[ignore = "needs PostgreSQL; run it with --include-ignored"]
async fn a_read_only_server_is_waited_for() {
    let server = Server::start().unwrap();
    let url = server.url("reads");
    let store = open(&url).await.unwrap();
    let mut conn = shell(&url.parse().unwrap()).await;
    run(&mut conn, "ALTER DATABASE postgres SET default_transaction_read_only = on").await;
    end_connections(&mut conn, "true").await;
    let error = store.submit(NewRequest::new(id("a"), "/a", "", Timestamp::default())).await.unwrap_err();
    assert!(matches!(error, Error::Backend(_)), "{error:?}");
    assert!(text(&error).contains("read-only") && text(&error).contains("25006"), "{}", text(&error));
    assert!(matches!(store.trouble(), Some(Trouble::Fails(_))));
    // It can still be read.
    assert!(store.request(&id("a")).await.unwrap().is_none());
    run(
        &mut conn,
        "SET default_transaction_read_only = off; ALTER DATABASE postgres RESET default_transaction_read_only",
    )
    .await;
    while store.submit(NewRequest::new(id("b"), "/a", "", Timestamp::default())).await.is_err() {}
    store.close().await;
}

/// All connections of the server are taken when the store needs a new one.
#[tokio::test]
#[ignore = "needs PostgreSQL; run it with --include-ignored"]
async fn too_many_connections_are_waited_for() {
    let server = Server::start().unwrap();
    let url = server.url("full");
    let store = open(&url).await.unwrap();
    let mut admin = shell(&url.parse().unwrap()).await;
    // A limit does not count for superusers, so the store gets a user of its own.
    store.close().await;
    run(&mut admin, "CREATE ROLE app LOGIN; GRANT CREATE ON DATABASE postgres TO app; DROP SCHEMA \"full\" CASCADE")
        .await;
    let url = url.replace("postback@", "app@");
    let store = open(&url).await.unwrap();
    run(&mut admin, "ALTER ROLE app CONNECTION LIMIT 0").await;
    end_connections(&mut admin, "true").await;
    let error = store.submit(NewRequest::new(id("a"), "/a", "", Timestamp::default())).await.unwrap_err();
    assert!(text(&error).contains("max_connections") && text(&error).contains("53300"), "{}", text(&error));
    run(&mut admin, "ALTER ROLE app CONNECTION LIMIT -1").await;
    while store.submit(NewRequest::new(id("b"), "/a", "", Timestamp::default())).await.is_err() {}
    assert!(store.request(&id("b")).await.unwrap().is_some());
    store.close().await;
}

/// A batch that meets a lock, a deadlock or a slow server is applied again, and its caller notices nothing.
#[tokio::test]
#[ignore = "needs PostgreSQL; run it with --include-ignored"]
async fn what_another_session_holds_up_is_repeated() {
    let world = World::postgres();
    let store = world.open().await;
    let mut conn = shell(world.database()).await;
    for code in ["40001", "40P01", "55P03", "57014", "53200"] {
        // The first insertion after this fails with the code. A sequence keeps its value after a rollback.
        let schema = world.database().schema();
        let fail = format!(
            "CREATE SEQUENCE s; CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             IF nextval('{schema}.s') = 1 THEN RAISE EXCEPTION 'as the test says' USING ERRCODE = '{code}'; END IF; \
             RETURN NEW; END $$; \
             CREATE TRIGGER fail BEFORE INSERT ON request FOR EACH ROW EXECUTE FUNCTION fail()"
        );
        run(&mut conn, &fail).await;
        submit(&store, world.request(code)).await;
        assert_eq!(number(&mut conn, "SELECT last_value FROM s").await, 2, "{code}");
        run(&mut conn, "DROP FUNCTION fail() CASCADE; DROP SEQUENCE s").await;
    }
    let report = world.report("x");
    store.post_durably(vec![report.clone()]).await.unwrap();
    let error = store.post_durably(vec![report]).await.unwrap_err();
    assert!(matches!(error, Error::Unwritable(_)), "{error:?}");
    let row = store.claim_reports(1).await.unwrap().rows.remove(0);
    current(store.settle_report(row.claim, world.attempt(200), Next::Delivered).await);
    assert_eq!(store.deliveries("x").await.unwrap()[0].state, DeliveryState::Delivered);
    tokio::time::timeout(Duration::from_secs(30), store.close()).await.unwrap();
}
