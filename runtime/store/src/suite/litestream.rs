//! Another process copies the write-ahead log, as Litestream does. Only that process may truncate the log.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, SqliteConnection};
use tokio::task::block_in_place;

use super::world::{World, id, submit};
use crate::record::NewRequest;
use crate::{Location, Store};

/// The environment variable that contains the path of the database. The test sets it for a second process, in which the
/// same test runs.
const INNER: &str = "POSTBACK_TEST_LITESTREAM";
/// The prefix of the lines in which the second process answers. Other lines of the same output are from Rust's test
/// harness.
const ANSWER: &str = "alongside: ";

/// The code of the second process, which obeys the commands of the test. After the command `hold`, it has a read
/// transaction open on the database, so that SQLite cannot restart the WAL.
async fn alongside(path: &str) {
    let options = SqliteConnectOptions::new().filename(path).pragma("wal_autocheckpoint", "0");
    let mut conn = options.connect().await.unwrap();
    let run = async |conn: &mut SqliteConnection, sql: &'static str| {
        sqlx::raw_sql(sql).execute(conn).await.unwrap();
    };
    run(&mut conn, "CREATE TABLE IF NOT EXISTS _litestream_seq (id INTEGER PRIMARY KEY, seq INTEGER)").await;
    for command in std::io::stdin().lines() {
        match command.unwrap().as_str() {
            "hold" => {
                // This statement writes to the WAL, so that the WAL is not empty. If the WAL is empty, a read
                // transaction does not stop SQLite from restarting the WAL.
                run(
                    &mut conn,
                    "INSERT INTO _litestream_seq VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET seq = seq + 1",
                )
                .await;
                run(&mut conn, "BEGIN; SELECT count(*) FROM _litestream_seq").await;
            }
            "let go" => run(&mut conn, "ROLLBACK").await,
            "checkpoint" => run(&mut conn, "PRAGMA wal_checkpoint(PASSIVE)").await,
            other => panic!("{other}"),
        }
        println!("{ANSWER}done");
    }
}

struct Alongside {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Alongside {
    fn start(path: &Path) -> Self {
        let mut inner = Command::new(std::env::current_exe().unwrap());
        inner.args(["--exact", "suite::litestream::litestream_alongside", "--nocapture"]).env(INNER, path);
        let mut child = inner.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Self { child, answers }
    }

    /// Sends a command to the second process, and waits until the second process has carried out the command.
    fn asked(&mut self, to: &str) {
        block_in_place(|| {
            writeln!(self.child.stdin.as_mut().unwrap(), "{to}").unwrap();
            let done = (&mut self.answers).lines().any(|line| line.unwrap().ends_with(&format!("{ANSWER}done")));
            assert!(done, "the other process ended before it could {to}");
        });
    }

    fn ended(mut self) {
        drop(self.child.stdin.take());
        assert!(block_in_place(|| self.child.wait()).unwrap().success());
    }
}

/// Returns the salt of the WAL and the length of the WAL in bytes. The salt changes when SQLite restarts the WAL.
fn log(world: &World) -> (Vec<u8>, u64) {
    // `read` opens and closes the WAL file, which drops all locks of this process on this file. No lock is lost,
    // because SQLite has no locks on the WAL file.
    let bytes = std::fs::read(world.dir.path().join("store.db-wal")).unwrap();
    (bytes[16..24].to_vec(), bytes.len() as u64)
}

/// Writes `large` large requests, and 50 small requests after each of the large requests.
async fn write(world: &World, store: &Store, name: &str, large: usize) {
    for n in 0..large {
        let body = vec![7; 4 << 20].into();
        submit(store, NewRequest { body, ..world.request(&format!("{name} large {n}")) }).await;
        let small: Vec<_> = (0..50).map(|m| world.request(&format!("{name} small {n} {m}"))).collect();
        futures_util::future::join_all(small.into_iter().map(|request| submit(store, request))).await;
    }
}

async fn has(store: &Store, name: &str, large: usize) {
    for n in 0..large {
        let of = [format!("{name} large {n}"), format!("{name} small {n} 0"), format!("{name} small {n} 49")];
        for text in of {
            assert!(store.request(&id(&text)).await.unwrap().is_some(), "{text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn litestream_alongside() {
    #[expect(clippy::disallowed_methods, reason = "how the outer process talks to the inner one")]
    if let Ok(path) = std::env::var(INNER) {
        return alongside(&path).await;
    }
    let mut world = World::sqlite();
    world.options.litestream = true;
    let Location::Sqlite { path, .. } = world.options.place.clone() else { panic!("a case for files") };
    let store = world.open().await;
    let mut other = Alongside::start(&path);

    // While the second process has its read transaction open, SQLite cannot restart the WAL, so the WAL becomes longer
    // with each write.
    other.asked("hold");
    let (salt, mut length) = log(&world);
    for part in ["one", "two"] {
        write(&world, &store, part, 12).await;
        let now = log(&world);
        assert_eq!(now.0, salt);
        assert!(now.1 > length, "{} after {length}", now.1);
        length = now.1;
    }
    assert!(length > 96 << 20, "{length}");

    // Copies the database file and then the WAL while the store writes. The copies together must be a complete database
    // with every request that was accepted before the copy.
    let copy = World::sqlite();
    let copies = async {
        for file in ["store.db", "store.db-wal"] {
            let (from, to) = (world.dir.path().join(file), copy.dir.path().join(file));
            // The command `cp` copies the files in another process. In this process, closing the database file would
            // drop SQLite's locks on the file.
            assert!(block_in_place(|| Command::new("cp").args([from, to]).status()).unwrap().success());
        }
    };
    tokio::join!(copies, write(&world, &store, "three", 5));
    let restored = copy.open().await;
    for part in ["one", "two"] {
        has(&restored, part, 12).await;
    }
    restored.recover(3).await.unwrap();
    submit(&restored, world.request("goes on")).await;
    restored.close().await;

    // While the second process has no transaction open, SQLite may restart the WAL. But nothing may truncate the WAL,
    // whether or not the second process makes a checkpoint.
    for (part, checkpoint) in [("four", false), ("five", true), ("six", false)] {
        other.asked("let go");
        if checkpoint {
            other.asked("checkpoint");
        }
        write(&world, &store, part, 18).await;
        let now = log(&world).1;
        assert!(now >= length, "{now} after {length}: the log was truncated");
        length = now;
        other.asked("hold");
    }
    other.asked("let go");
    other.ended();
    store.close().await;

    world.options.litestream = false;
    let store = world.open().await;
    for (part, large) in [("one", 12), ("two", 12), ("three", 5), ("four", 18), ("five", 18), ("six", 18)] {
        has(&store, part, large).await;
    }
}
