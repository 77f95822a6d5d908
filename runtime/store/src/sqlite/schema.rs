//! The tables, their version, and the check whether a file may be used.
//!
//! Rows that are updated are narrow. Bodies, results and attempts are in their own tables, whose rows are not updated.
//! All times are in microseconds since 1970: due times in the store's own time, all other times in the time of the wall
//! clock. The numbers of states are those of [`super::states`].

mod steps;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use self::steps::STEPS;
use super::codec::json;
use super::connect::{Connector, explained};
use super::idempotency;
use super::statement::{query, query_scalar};
use super::states::sql;
use crate::error::OpenError;
use crate::identity;
use postback_wire::id::NodeId;
use postback_wire::webhook::Target;

/// The version of the schema. Each entry of [`STEPS`] raises the version by one, because an older program would misread
/// a database that an entry has changed.
#[expect(clippy::cast_possible_wrap, reason = "there are a few")]
const VERSION: i64 = STEPS.len() as i64;

/// The oldest version of SQLite that this program accepts. Older versions can damage a database in WAL mode, if a
/// second connection makes a checkpoint during a commit.
const OLDEST_SQLITE: (u32, u32, u32) = (3, 51, 3);

/// Checks whether this program may use the database file. Does not change the file.
pub(super) fn check(connector: &Connector) -> Result<(), OpenError> {
    let path = connector.path();
    let refused = |source| OpenError::Backend { path: path.into(), source };
    let found = || {
        let conn = connector.look()?;
        look(&conn)
    };
    let Found { sqlite, tables, version } = found().map_err(|error| refused(explained(error)))?;
    if parse_version(&sqlite).is_none_or(|version| version < OLDEST_SQLITE) {
        let oldest = <[u32; 3]>::from(OLDEST_SQLITE).map(|part| part.to_string()).join(".");
        return Err(refused(format!("SQLite {sqlite} is linked, and {oldest} or newer is needed").into()));
    }
    match version {
        Some(found) if found > VERSION => Err(OpenError::Newer { path: path.into(), found, known: VERSION }),
        None if tables > 0 => Err(refused("it is the database of another program".into())),
        _ => Ok(()),
    }
}

struct Found {
    sqlite: String,
    tables: i64,
    version: Option<i64>,
}

fn look(conn: &Connection) -> Result<Found, rusqlite::Error> {
    let about = "SELECT sqlite_version(), count(*), coalesce(sum(name = 'meta'), 0) FROM sqlite_schema \
                 WHERE type = 'table' AND name NOT GLOB '_litestream_*'";
    let row = query(about).fetch_one(conn)?;
    let has_meta: i64 = row.try_get(2)?;
    let version = if has_meta == 1 { version(conn)? } else { None };
    Ok(Found { sqlite: row.try_get(0)?, tables: row.try_get(1)?, version })
}

fn version(conn: &Connection) -> Result<Option<i64>, rusqlite::Error> {
    query_scalar("SELECT value FROM meta WHERE key = 'postback schema'").fetch_optional(conn)
}

/// Returns the id of the store. If it has none, it gets that of this process, which no other process has.
pub(super) fn store_id(conn: &Connection, node: NodeId) -> Result<Box<str>, rusqlite::Error> {
    let insert = query("INSERT OR IGNORE INTO meta (key, value) VALUES (?1, ?2)").bind(identity::KEY);
    insert.bind(node.to_string()).execute(conn)?;
    known_store_id(conn)?.ok_or(rusqlite::Error::QueryReturnedNoRows)
}

/// Returns the id of the store. `None`: no process of this version has opened it.
pub(super) fn known_store_id(conn: &Connection) -> Result<Option<Box<str>>, rusqlite::Error> {
    let id: Option<String> =
        query_scalar("SELECT value FROM meta WHERE key = ?1").bind(identity::KEY).fetch_optional(conn)?;
    Ok(id.map(Box::from))
}

/// Changes the schema of a file to the current version. The file is empty or has an older version of the schema. One
/// transaction makes all changes.
pub(super) fn migrate(conn: &Connection) -> Result<(), rusqlite::Error> {
    let empty = look(conn)?.tables == 0;
    let found = if empty { None } else { version(conn)? };
    let done = found.map_or(0, |found| usize::try_from(found).unwrap_or(usize::MAX));
    if done >= STEPS.len() {
        return Ok(());
    }
    idempotency::define_key(conn)?;
    let transaction = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
    for step in STEPS.iter().skip(done) {
        transaction.execute_batch(step)?;
    }
    if found == Some(1) {
        name_origins(&transaction)?;
    }
    let set = query("INSERT OR REPLACE INTO meta (key, value) VALUES ('postback schema', ?1)").bind(VERSION);
    set.execute(&transaction)?;
    transaction.commit()
}

/// Adds the origin to the reports that version 1 wrote without an origin. Skips the reports that are over.
fn name_origins(conn: &Connection) -> Result<(), rusqlite::Error> {
    let mut last = 0_i64;
    loop {
        let sql = sql!(
            "SELECT r.seq, b.url FROM report AS r JOIN report_body AS b ON b.seq = r.seq \
             WHERE r.seq > ?1 AND r.state < {first end} ORDER BY r.seq LIMIT 1000"
        );
        let rows = query(sql).bind(last).fetch_all(conn)?;
        let origin = |url| Target::parse(url).origin().to_owned();
        let named = rows.iter().map(|row| Ok((row.try_get(0)?, origin(row.try_get(1)?))));
        let named: Vec<(i64, String)> = named.collect::<Result<_, rusqlite::Error>>()?;
        let Some((seq, _)) = named.last() else { return Ok(()) };
        last = *seq;
        let sql = "UPDATE report SET origin = j.value ->> 1 FROM json_each(?1) AS j WHERE report.seq = j.value ->> 0";
        query(sql).bind(json(&named)?).execute(conn)?;
    }
}

fn parse_version(text: &str) -> Option<(u32, u32, u32)> {
    let mut parts = text.split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??, parts.next()??))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::steps::{VERSION_1, VERSION_2};
    use super::*;
    use crate::{Cancelled, Durability, IdempotencyKey, Location, NewRequest, Options, Replayed, Store, Submitted};
    use postback_wire::id::{NodeId, RequestId};
    use postback_wire::report::Outcome;
    use postback_wire::time::{Clock, Timestamp};

    /// Three reports as version 1 wrote them: one is pending, one is being delivered, and one is delivered.
    const REPORTS: &str = "
        INSERT INTO meta (key, value) VALUES ('postback schema', 1);
        INSERT INTO node (seq, id, started) VALUES (1, 'old', 50);
        INSERT INTO report VALUES (1, x'01900000000070008000000000000001', 'a', 0, 5, 0, 0, NULL, 5, NULL, NULL),
            (2, x'01900000000070008000000000000002', 'a', 1, 6, 1, 1, 1, 6, NULL, NULL),
            (3, x'01900000000070008000000000000003', 'a', 2, 7, 1, 1, NULL, 7, 8, NULL);
        INSERT INTO report_body SELECT seq, 'https://example.com/hooks?n=' || seq, x'', NULL, x'7b7d' FROM report;
    ";

    #[tokio::test]
    pub(crate) async fn a_file_of_version_1_is_brought_up_to_date() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.db");
        std::fs::write(&path, "").unwrap();
        let connector = Connector::new(&path, Durability::Normal);
        let conn = connector.write().unwrap();
        conn.execute_batch(VERSION_1).unwrap();
        conn.execute_batch(REPORTS).unwrap();
        drop(conn);

        let clock = Clock::from_fn(|| Timestamp::from_micros(100));
        let options = Options::at(Location::Sqlite { path: path.clone(), durability: Durability::Normal });
        for _ in 0..2 {
            let store = Store::open(options.clone(), NodeId::generate(), clock.clone()).await.unwrap();
            store.recover(3).await.unwrap();
            let rows = store.claim_reports(10).await.unwrap().rows;
            let rows: Vec<_> = rows.iter().map(|row| (row.to.url(), row.to.origin())).collect();
            let origin = "https://example.com";
            assert_eq!(rows, [("https://example.com/hooks?n=1", origin), ("https://example.com/hooks?n=2", origin)]);
            assert_eq!(store.deliveries("a").await.unwrap().len(), 3);
            store.close().await;
        }
        let conn = connector.look().unwrap();
        assert_eq!(version(&conn).unwrap(), Some(VERSION));
    }

    /// A running request, a waiting request, and a report that is over, as version 2 wrote them.
    const ROWS_OF_2: &str = "
        INSERT INTO meta (key, value) VALUES ('postback schema', 2);
        INSERT INTO node (seq, id, started) VALUES (1, 'old', 50);
        INSERT INTO request VALUES (1, 'runs', '/a', 1, 5, 1, 0, 0, 1, 5, NULL), (2, 'waits', '/a', 0, 6, 0, 0, 0, NULL, 6, NULL),
            (3, 'due', '/a', 0, 7, 0, 0, 0, NULL, 7, NULL);
        INSERT INTO request_body SELECT seq, x'', x'7b7d' FROM request;
        INSERT INTO report VALUES (1, x'01900000000070008000000000000001', 'a', 3, 5, 1, 1, NULL, 5, 9, NULL, '', NULL);
        INSERT INTO report_body VALUES (1, 'https://example.com/hooks', x'', NULL, x'7b7d');
    ";

    #[tokio::test]
    async fn what_version_2_left_can_be_cancelled_and_sent_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.db");
        std::fs::write(&path, "").unwrap();
        let conn = Connector::new(&path, Durability::Normal).write().unwrap();
        for sql in [VERSION_1, VERSION_2, ROWS_OF_2] {
            conn.execute_batch(sql).unwrap();
        }
        drop(conn);

        let clock = Clock::from_fn(|| Timestamp::from_micros(100));
        let options = Options::at(Location::Sqlite { path, durability: Durability::Normal });
        let store = Store::open(options, NodeId::generate(), clock).await.unwrap();
        let cancel = async |id: &str| {
            let end = |_, _| (Outcome::cancelled(Timestamp::from_micros(100)), vec![]);
            store.cancel(&RequestId::stored(id), "/a", None, end).await.unwrap()
        };
        assert_eq!(cancel("runs").await, Cancelled::Stopping);
        assert!(matches!(cancel("waits").await, Cancelled::AtOnce(_)));
        drop(store.attach_requests(vec!["/a".to_owned()], std::sync::Arc::new(tokio::sync::Semaphore::new(0))));
        assert_eq!(store.claim_requests(9).await.unwrap().rows[0].claim.id.as_str(), "due");
        assert!(store.recover(3).await.unwrap().lost[0].cancelled);
        let report = store.deliveries("a").await.unwrap().remove(0);
        assert_eq!(report.webhook_id, report.id);
        assert!(matches!(store.replay(report.id).await.unwrap(), Replayed::As { .. }));
        let row = store.claim_reports(5).await.unwrap().rows.remove(0);
        assert_eq!((row.webhook_id, row.to.origin()), (report.id, "https://example.com"));
        assert!(!row.to.webhook().unwrap().is_operator(), "version 2 did not store who chose it");
        store.close().await;
    }

    #[tokio::test]
    async fn a_key_of_version_10_still_makes_one_request() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.db");
        std::fs::write(&path, "").unwrap();
        let conn = Connector::new(&path, Durability::Normal).write().unwrap();
        STEPS[..10].iter().for_each(|step| conn.execute_batch(step).unwrap());
        let rows = "INSERT INTO meta (key, value) VALUES ('postback schema', 10);
            INSERT INTO request (seq, id, route, state, due, epoch, failures, crashes, created)
                VALUES (1, 'first', '/a', 0, 5, 0, 0, 0, 5);
            INSERT INTO request_body VALUES (1, x'', x'7b7d');
            INSERT INTO idempotency VALUES ('', '/a', 'k', 1, zeroblob(32));";
        conn.execute_batch(rows).unwrap();
        drop(conn);

        let clock = Clock::from_fn(|| Timestamp::from_micros(100));
        let options = Options::at(Location::Sqlite { path, durability: Durability::Normal });
        let store = Store::open(options, NodeId::generate(), clock).await.unwrap();
        let with = |body: &'static str| {
            let idempotency = Some(IdempotencyKey::new("", "/a", "k"));
            let id = RequestId::generate();
            NewRequest { idempotency, ..NewRequest::new(id, "/a", body, Timestamp::from_micros(100)) }
        };
        let first = RequestId::stored("first");
        assert_eq!(store.submit(with("{}")).await.unwrap(), Submitted::Repeated(first));
        assert_eq!(store.submit(with("[]")).await.unwrap(), Submitted::KeyReused);
        assert_eq!(store.counts().await.unwrap().queued["/a"], 1);
        store.close().await;
    }

    #[tokio::test]
    async fn an_interrupted_migration_leaves_the_file_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.db");
        std::fs::write(&path, "").unwrap();
        let conn = Connector::new(&path, Durability::Normal).write().unwrap();
        conn.execute_batch(VERSION_1).unwrap();
        conn.execute_batch(REPORTS).unwrap();
        // A table with the name of the last new index is created, so that the index cannot be created.
        conn.execute_batch("CREATE TABLE report_held_due (a)").unwrap();
        migrate(&conn).unwrap_err();
        assert_eq!(version(&conn).unwrap(), Some(1));
        conn.execute_batch("DROP TABLE report_held_due").unwrap();
        migrate(&conn).unwrap();
        assert_eq!(version(&conn).unwrap(), Some(VERSION));
    }
}
