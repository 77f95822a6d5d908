//! PgBouncer between a server and PostgreSQL: it works if each connection has a session of its own, and is refused at the
//! start otherwise.

use std::path::{Path, PathBuf};

use postback_tests::{Process, eventually};
use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};

use super::{PASSWORD, Stage, launch_at, refused};

/// The port in the name of PgBouncer's Unix socket.
const PORT: u16 = 6432;
/// PgBouncer refuses to run as root, so it runs as the user who owns the folder.
const START: &str = r#"
    if test "$(id -u)" = 0; then set -- -u "$(stat -c %U "$1")" "$1"; fi
    for folder; do :; done
    exec pgbouncer "${@:1:$#-1}" "$folder/pgbouncer.ini"
"#;

/// Returns the folder of PostgreSQL's Unix socket, where that of PgBouncer is, too.
fn folder(stage: &Stage) -> PathBuf {
    let url = stage.postgres.url("jobs");
    let (_, rest) = url.split_once("?host=").expect("a folder");
    rest.split('&').next().expect("a folder").into()
}

fn start(stage: &Stage, settings: &str) -> Process {
    let folder = folder(stage);
    let text = format!(
        "[databases]\n* = host={0} port=5432 user=postback\n\
         [pgbouncer]\nlisten_port = {PORT}\nunix_socket_dir = {0}\nauth_type = any\n{settings}\n",
        folder.display()
    );
    std::fs::write(folder.join("pgbouncer.ini"), text).unwrap();
    let mut pgbouncer = Process::start("bash", Path::new("/"), &["-c", START, "bash", folder.to_str().unwrap()], &[]);
    pgbouncer.wait_for("process up");
    pgbouncer
}

fn url(stage: &Stage) -> String {
    let folder = folder(stage);
    format!("postgres://app:{PASSWORD}@localhost/postgres?host={}&port={PORT}&search_path=jobs", folder.display())
}

async fn connect(url: &str) -> PgConnection {
    let (url, _) = url.split_once("&search_path").expect("a schema");
    url.parse::<PgConnectOptions>().unwrap().extra_float_digits(None).connect().await.unwrap()
}

async fn count(conn: &mut PgConnection, sql: &'static str) -> i64 {
    sqlx::Row::get(&sqlx::raw_sql(sql).fetch_one(conn).await.unwrap(), 0)
}

pub fn pgbouncer_serves_whole_sessions() {
    let mut stage = Stage::new();
    let mut pgbouncer = start(&stage, "pool_mode = session");
    let folder = stage.folder.path().to_owned();
    let mut first = launch_at(&folder, &url(&stage));
    let mut second = launch_at(&folder, &url(&stage));
    let urls = [first.ready(), second.ready()];
    for n in 0..20 {
        assert_eq!(stage.submit(&urls[n % 2], &n.to_string()), 200);
    }
    // Each node answers for what the other one has run.
    stage.has_kept_all(&urls[0]);
    stage.has_kept_all(&urls[1]);

    // A killed node is taken over, and begins again. Its sessions are given back without its locks and settings.
    for n in 0..5 {
        assert_eq!(stage.submit(&urls[0], &format!("before the kill {n}")), 200);
    }
    first.kill();
    let mut first = launch_at(&folder, &url(&stage));
    let again = first.ready();
    assert_eq!(stage.submit(&again, "after the kill"), 200);
    stage.has_kept_all(&again);

    // PgBouncer ends, and all connections with it.
    pgbouncer.kill();
    let mut pgbouncer = start(&stage, "pool_mode = session");
    eventually("a submission that is accepted", || match stage.submit(&again, "after the end of PgBouncer") {
        200 => Ok(()),
        other => Err(other),
    });
    stage.has_kept_all(&urls[1]);
    for node in [&mut first, &mut second] {
        node.terminate();
        assert_eq!(node.ended().code(), Some(0), "{}", node.output());
        assert!(!node.output().contains(PASSWORD), "{}", node.output());
    }
    pgbouncer.kill();
}

pub fn pgbouncer_with_shared_sessions_is_refused() {
    let stage = Stage::new();
    let folder = stage.folder.path().to_owned();
    for settings in
        ["pool_mode = transaction", "pool_mode = transaction\nserver_round_robin = 1", "pool_mode = statement"]
    {
        let mut pgbouncer = start(&stage, settings);
        // Other clients have left some sessions, which the pool gives to the next ones.
        stage.runtime.block_on(async {
            let mut others = Vec::new();
            for _ in 0..4 {
                others.push(connect(&url(&stage)).await);
            }
            for sql in ["BEGIN", "COMMIT"] {
                for other in &mut others {
                    let done = sqlx::raw_sql(sql).execute(other).await;
                    assert!(done.is_ok() || settings.contains("statement"), "{done:?}");
                }
            }
        });
        for _ in 0..3 {
            let said = refused(&folder, &url(&stage));
            assert!(said.contains("set pool_mode = session for this database in PgBouncer"), "{settings}: {said}");
        }
        // Nothing was made, and no setting is left in a session that other clients get.
        stage.runtime.block_on(async {
            let mut conn = connect(&url(&stage)).await;
            let sql = "SELECT count(*) FROM pg_namespace WHERE nspname = 'jobs'";
            assert_eq!(count(&mut conn, sql).await, 0);
            let sql = "SELECT count(*) FROM pg_settings WHERE name = 'search_path' AND setting LIKE '%jobs%'";
            assert_eq!(count(&mut conn, sql).await, 0);
        });
        pgbouncer.kill();
    }
    // A pool that is smaller than what a server needs has an error, too, instead of a server that hangs.
    let mut pgbouncer = start(&stage, "pool_mode = session\ndefault_pool_size = 1\nquery_wait_timeout = 1");
    let said = refused(&folder, &url(&stage));
    assert!(said.contains("PgBouncer needs pool_mode = session") && said.contains("pool_size"), "{said}");
    pgbouncer.kill();
}
