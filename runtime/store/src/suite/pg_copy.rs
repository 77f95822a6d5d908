//! Copies from SQLite into PostgreSQL.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use sqlx::{ConnectOptions as _, Connection as _, Row as _};
use tokio::sync::Notify;

use super::world::new_schema;
use crate::copy::{Copied, CopyError, Step, copy};
use crate::sql::tables::TABLES;
use crate::{DatabaseUrl, Durability, Location, OpenError, Options, Store};
use postback_wire::id::{NodeId, RequestId};
use postback_wire::time::Clock;

/// Rows of each table, with values that are hard to copy.
const ROWS: &str = r#"
INSERT INTO request (seq, id, route, state, due, epoch, failures, crashes, created, finished, cancel, owner, priority,
    deadline, timeout, extras, started, later, idempotency) VALUES
    (1, 'waits', '/a', 0, 5000, 0, 0, 0, 7, NULL, 0, '', 0, NULL, NULL, NULL, NULL, 0, NULL),
    (2, 'later', '/a', 0, 900000000000000000, 1, 1, 2, 7, NULL, 1, 'token', -100, 6000, 99, '{"metadata":"{\"a\":\"\\\\N\"}"}', 8, 1, x'00ff'),
    (4, 'over', '/b c', 2, 5000, 1, 0, 0, 7, 9, 0, '', 0, NULL, NULL, NULL, 8, 0, NULL);
INSERT INTO request_body (seq, headers, body, registration) VALUES
    (1, x'', x'7b7d', '{"webhooks":[]}'), (2, x'005c78', x'', '{"webhooks":[1]}'), (4, x'', x'ff', NULL);
INSERT INTO registration (seq, text) VALUES (2, '{"webhooks":[2]}'), (4, '{}');
INSERT INTO outcome (seq, epoch, reason, result, error, detail) VALUES (4, 1, 'none', x'0a5c4e', NULL, 'tab	, "quotes", \N, é' || char(13, 10, 8, 11, 12, 0));
INSERT INTO run (request, epoch, started, ended, "end", detail) VALUES (2, 1, 8, 9, 'failed', NULL), (2, 2, 8, 9, 'lost', '');
INSERT INTO run_progress (request, epoch, sequence, fraction, message, detail, at) VALUES
    (2, 1, 7, 0.1, 'a', x'7b7d', 8), (4, 1, 1, 1e-7, NULL, NULL, 8);
INSERT INTO checkpoint (request, value, saved) VALUES (2, x'0102', 8), (1, x'', NULL);
INSERT INTO disabled (seq, url, since, reason, by_operator) VALUES (3, 'https://a.example/', 5, 'no', 1);
INSERT INTO report (seq, id, subject, state, due, epoch, attempt, created, finished, refused, origin, held) VALUES
    (1, x'01900000000070008000000000000001', 'over', 2, 5, 1, 1, 5, 9, NULL, 'https://a.example', NULL),
    (2, x'01900000000070008000000000000002', 'over', -2, 6, 0, 0, 5, NULL, NULL, 'https://a.example', 3),
    (3, x'01900000000070008000000000000003', 'over', 0, 6, 2, 2, 5, NULL, NULL, '', NULL);
INSERT INTO report_body (seq, url, headers, secret, body, webhook_id, by_operator) VALUES
    (1, 'https://a.example/', x'', NULL, x'7b7d', NULL, 0), (2, 'https://a.example/', x'01', 'whsec_x', x'', NULL, 1),
    (3, 'https://b.example/', x'', NULL, x'7b7d', x'01900000000070008000000000000001', 0);
INSERT INTO attempt (report, n, epoch, started, took, status, error, response) VALUES
    (1, 1, 1, 5, 6, 204, NULL, x''), (3, 1, 1, 5, 6, NULL, 'timed out', x''), (3, 10, 2, 5, 6, 500, '', x'fe');
INSERT INTO token (seq, id, name, hash, terms, created, expires, revoked) VALUES
    (1, 'old', 'ci', x'01', '{}', 5, NULL, 6), (5, 'new', 'ci', x'02', '{"scopes":[]}', 5, 7, NULL);
INSERT INTO token_use (id, used) VALUES ('new', 5), ('Ä', 6), ('a', 7);
INSERT INTO audit (seq, at, who, what, subject, detail) VALUES (1, 5, 'socket uid 0', 'token.new', 'old', '');
INSERT INTO schedule (name, last) VALUES ('/cron/a', 5);
INSERT INTO series (kind, name, step, at, figures) VALUES (0, '', 1, 60000000, '{}'), (1, '/b c', 10, 0, '{"accepted":1}');
INSERT INTO handed_in (id, problem, content) VALUES ('b', NULL, x'7b7d0a00'), ('B-1', 'no first line', x'');
UPDATE progress SET commits = 17, wall = 2000, due = 500;
"#;

fn options(place: Location) -> Options {
    Options::at(place)
}

/// Makes a file with these rows.
async fn filled(folder: &Path) -> PathBuf {
    let path = folder.join("store.db");
    let place = Location::Sqlite { path: path.clone(), durability: Durability::Normal };
    let store = Store::open(options(place), NodeId::generate(), Clock::system()).await.unwrap();
    store.close().await;
    drop(store);
    Connection::open(&path).unwrap().execute_batch(ROWS).unwrap();
    path
}

async fn opened(url: &DatabaseUrl) -> Result<Store, OpenError> {
    Store::open(options(Location::Postgres { url: url.clone() }), NodeId::generate(), Clock::system()).await
}

async fn change(url: &DatabaseUrl, sql: &'static str) {
    let options: sqlx::postgres::PgConnectOptions = url.reveal().parse().unwrap();
    let mut conn = options.options([("search_path", url.schema())]).connect().await.unwrap();
    sqlx::raw_sql(sql).execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
}

/// Copies until the first table is there.
async fn interrupted(path: &Path, url: &DatabaseUrl) {
    let first = Notify::new();
    let copying = copy(path, url, |_| first.notify_one());
    tokio::select! {
        biased;
        () = first.notified() => {}
        done = copying => panic!("{done:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run it with --include-ignored"]
async fn a_copy_has_every_row_and_works() {
    let folder = tempfile::tempdir().unwrap();
    let (path, url) = (filled(folder.path()).await, new_schema());
    let original = Connection::open(&path).unwrap();
    let id: String =
        original.query_row("SELECT value FROM meta WHERE key = 'postback store id'", [], |row| row.get(0)).unwrap();
    drop(original);
    let mut steps = Vec::new();
    let copied = copy(&path, &url, |step| steps.push(step)).await.unwrap();
    assert_eq!(copied, Copied { rows: 37, compared: 37, requests: 3, deliveries: 3 });
    assert!(steps.contains(&Step::Copied { table: "attempt", rows: 3 }));
    assert!(steps.contains(&Step::Compared { table: "series", rows: 2 }));

    let store = opened(&url).await.unwrap();
    assert_eq!(store.id(), Some(&*id), "what is kept elsewhere stays its own");
    let over = store.summary(&RequestId::stored("over")).await.unwrap().unwrap();
    assert_eq!(&*over.route, "/b c");
    assert_eq!(store.audited(None, 10).await.unwrap().len(), 2);
    assert_eq!(store.disabled().await.unwrap()[0].url, "https://a.example/");
    assert_eq!(store.held_count("https://a.example/").await.unwrap(), 1);
    // New rows get new numbers.
    let request = crate::NewRequest::new(RequestId::stored("new"), "/c", "", Clock::system().now());
    assert_eq!(store.submit(request).await.unwrap(), crate::Submitted::New);
    store.close().await;
    // The due times are in the time of the new store, whose clock is the wall clock.
    change(&url, "DO $$ BEGIN ASSERT (SELECT due FROM request WHERE id = 'waits') = 6500; END $$").await;
    change(&url, "DO $$ BEGIN ASSERT (SELECT text FROM registration WHERE seq = 2) LIKE '%2%'; END $$").await;
    // A schema with rows takes no second copy.
    let again = copy(&path, &url, |_| {}).await.unwrap_err();
    assert!(postback_wire::line::Causes(&again).to_string().contains("it has rows already"), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run it with --include-ignored"]
async fn an_interrupted_copy_is_of_no_use_until_it_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (path, url) = (filled(folder.path()).await, new_schema());
    interrupted(&path, &url).await;
    let refused = opened(&url).await.unwrap_err();
    assert!(postback_wire::line::Causes(&refused).to_string().contains("run `store copy` again"), "{refused}");
    let copied = copy(&path, &url, |_| {}).await.unwrap();
    // The three requests were there already.
    assert_eq!((copied.rows, copied.compared), (34, 37));
    opened(&url).await.unwrap().close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run it with --include-ignored"]
async fn a_copy_that_differs_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (path, url) = (filled(folder.path()).await, new_schema());
    interrupted(&path, &url).await;
    change(&url, "UPDATE request SET failures = failures + 1 WHERE id = 'waits'").await;
    let error = copy(&path, &url, |_| {}).await.unwrap_err();
    assert!(matches!(error, CopyError::Differs { table: "request" }), "{error:?}");
    assert!(opened(&url).await.is_err());
    // The original has changed since the copy began.
    Connection::open(&path).unwrap().execute_batch("UPDATE progress SET commits = 18").unwrap();
    let error = copy(&path, &url, |_| {}).await.unwrap_err();
    assert!(format!("{error:?}").contains("the store has changed since"), "{error:?}");
}

/// A table or a column that somebody adds later is copied, or is named here.
#[tokio::test]
#[ignore = "needs PostgreSQL; run it with --include-ignored"]
async fn every_table_and_column_is_copied() {
    const LEFT: [&str; 13] = [
        "meta.key",
        "meta.value",
        "probe.bytes",
        "request.node",
        "request.begun",
        "report.node",
        "progress.commits",
        "progress.wall",
        "progress.due",
        "progress.keys_filed",
        "request_key.key",
        "request_key.seq",
        "request_body.registration",
    ];
    let folder = tempfile::tempdir().unwrap();
    let (path, url) = (filled(folder.path()).await, new_schema());
    opened(&url).await.unwrap().close().await;
    let copied: BTreeSet<String> =
        TABLES.iter().flat_map(|table| table.all().map(|(name, ..)| format!("{}.{name}", table.name))).collect();
    let is_left = |name: &String| LEFT.contains(&name.as_str()) || name.starts_with("node.");
    let sql =
        "SELECT m.name || '.' || c.name FROM sqlite_schema AS m, pragma_table_info(m.name) AS c WHERE m.type = 'table'";
    let file = Connection::open(&path).unwrap();
    let mut statement = file.prepare(sql).unwrap();
    let names = statement.query_map([], |row| row.get::<_, String>(0)).unwrap().map(Result::unwrap);
    let names: BTreeSet<_> = names
        .map(|name| if name == "run.end" { "run.how".to_owned() } else { name })
        .filter(|name| !is_left(name))
        .collect();
    let without_node: BTreeSet<_> = copied.iter().filter(|name| *name != "series.node").cloned().collect();
    assert_eq!(names, without_node);

    let options: sqlx::postgres::PgConnectOptions = url.reveal().parse().unwrap();
    let mut conn = options.connect().await.unwrap();
    let sql = "SELECT table_name || '.' || column_name FROM information_schema.columns WHERE table_schema = $1";
    let rows = sqlx::query(sql).bind(url.schema()).fetch_all(&mut conn).await.unwrap();
    let names: BTreeSet<_> = rows.iter().map(|row| row.get::<String, _>(0)).filter(|name| !is_left(name)).collect();
    assert_eq!(names, copied);
}

#[tokio::test]
async fn a_missing_file_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none.db");
    let url: DatabaseUrl = "postgres://localhost:1/none".parse().unwrap();
    assert!(matches!(copy(&path, &url, |_| {}).await, Err(CopyError::Missing(_))));
    assert!(!path.exists());
}
