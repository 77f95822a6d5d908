//! No SQL statement gets slower as tables grow: each finds its rows by an index. SQLite's query plans prove it.
//!
//! First, all cases of the suite run, so that every statement is executed as the program executes it. Then SQLite
//! explains the plan of each executed statement. If no case executes a statement of the source, the test fails too,
//! because the plan of that statement is not known.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection as _, Row as _};

use super::world::World;
use crate::sqlite::{seen, states};

/// The steps of query plans that are allowed to scan or sort rows, because there are only few rows. Each entry contains
/// the start of the step, a part of the SQL statement, and the reason why there are few rows.
const FEW: &[(&str, &str, &str)] = &[
    ("SCAN progress", "UPDATE progress", "it has one row"),
    ("SCAN progress", "FROM progress", "it has one row"),
    ("SCAN request USING INDEX request_due", "GROUP BY route", "waiting requests, which are bounded"),
    ("SCAN request USING INDEX request_later", "GROUP BY route", "waiting requests, which are bounded"),
    ("SCAN request USING INDEX request_suspect", "GROUP BY route", "waiting requests, which are bounded"),
    ("SCAN report USING COVERING INDEX report_due", "count(*)", "rarely counted, and cheap in an index"),
    ("SCAN report USING COVERING INDEX report_parked", "count(*)", "rarely counted, and cheap in an index"),
    ("SCAN report USING COVERING INDEX report_held", "count(*)", "rarely counted, and cheap in an index"),
    ("SCAN disabled", "FROM disabled", "it is bounded, and read when the program starts or a caller asks for it"),
    ("USE TEMP B-TREE FOR ORDER BY", "FROM disabled ORDER BY", "it is bounded"),
    ("SCAN token", "FROM token ORDER BY seq", "tokens are bounded, and listed when an operator asks for them"),
    ("SCAN token USING INDEX token_name", "count(*) FROM token", "tokens are bounded, and rarely made"),
    ("SCAN schedule", "FROM schedule", "it has one row for each schedule of the program"),
    ("SCAN handed_in USING INDEX handed_in_", "count(*)", "it stops at 10,000 rows"),
    ("SCAN token_use", "FROM token_use", "it has one row for each token"),
    ("USE TEMP B-TREE FOR ORDER BY", "ORDER BY c.place", "one request of each of at most 32 owners"),
    ("SCAN r USING INDEX request_running", "INDEXED BY request_running", "running requests, which are bounded"),
    ("USE TEMP B-TREE FOR ORDER BY", "INDEXED BY request_running", "running requests, which are bounded"),
    ("SCAN sqlite_schema", "sqlite_version()", "it lists the tables of this program, and is read at the start"),
    ("SCAN report USING COVERING INDEX report_due", "ORDER BY due, seq LIMIT 1", "it stops at the first row"),
    ("SCAN request USING COVERING INDEX request_running", "count(*)", "running requests, which are bounded"),
    ("SCAN report USING COVERING INDEX report_delivering", "count(*)", "claimed reports, which are bounded"),
    ("SCAN r USING INDEX request_due", "sum(length", "waiting requests, which are bounded, at the start"),
    ("SCAN r USING INDEX request_later", "sum(length", "waiting requests, which are bounded, at the start"),
    ("SCAN r USING INDEX request_suspect", "sum(length", "waiting requests, which are bounded, at the start"),
    ("SCAN r USING INDEX request_running", "sum(length", "requests that ran when an earlier process ended"),
    ("USE TEMP B-TREE FOR GROUP BY", "sum(length", "requests that ran when an earlier process ended"),
    ("SCAN request USING INDEX request_running", "GROUP BY route", "requests that ran when an earlier process ended"),
    (
        "USE TEMP B-TREE FOR GROUP BY",
        "WHERE state = 1 GROUP BY route",
        "requests that ran when an earlier process ended",
    ),
    ("SCAN request USING INDEX request_running", "node <> ?1", "requests that ran when an earlier process ended"),
    (
        "SCAN report USING INDEX report_delivering",
        "node <> ?1",
        "reports that were claimed when an earlier process ended",
    ),
];

#[test]
fn every_statement_finds_its_rows_by_an_index() {
    // The futures of the driver are large without optimisation, so the thread of a test has too little stack for them.
    let thread = std::thread::Builder::new().stack_size(32 << 20).spawn(explain_all).unwrap();
    thread.join().unwrap();
}

fn explain_all() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(super::all_on_sqlite());
    runtime.block_on(super::all_kept_by_sqlite());
    for test in super::ON_SQLITE_ALONE {
        test();
    }
    runtime.block_on(async {
        let seen = seen::all();
        let mut problems = unseen(&seen);
        let world = World::sqlite();
        world.open().await.close().await;
        let path = world.dir.path().join("store.db");
        let mut conn = SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
        let mut excused = BTreeSet::new();
        for sql in &seen {
            problems.extend(walks(&mut conn, sql, &mut excused).await);
        }
        let idle = FEW.iter().filter(|few| !excused.contains(few));
        problems.extend(idle.map(|(step, of, _)| format!("`{step}` of `{of}` is excused, and does not occur")));
        assert!(problems.is_empty(), "{}", problems.join("\n\n"));
    });
}

/// Returns the steps of the statement's query plan that scan or sort rows, but not the steps that `FEW` allows. Each
/// entry of `FEW` that has allowed a step is added to `excused`.
async fn walks(
    conn: &mut SqliteConnection,
    sql: &str,
    excused: &mut BTreeSet<&'static (&'static str, &'static str, &'static str)>,
) -> Vec<String> {
    let mut walks = Vec::new();
    for one in sql.split(';').filter(|one| !one.trim().is_empty()) {
        let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {one}"));
        let rows = sqlx::query(explain).fetch_all(&mut *conn).await.unwrap_or_else(|error| panic!("{one}: {error}"));
        for row in rows {
            let step: String = row.try_get("detail").unwrap();
            let of_a_table = step.strip_prefix("SCAN ").is_some_and(|name| !is_no_table(name));
            if of_a_table || step.contains("AUTOMATIC") || step.contains("TEMP B-TREE") {
                match FEW.iter().find(|(walk, of, _)| step.starts_with(walk) && one.contains(of)) {
                    Some(few) => drop(excused.insert(few)),
                    None => walks.push(format!("{step}:\n  {one:.600}")),
                }
            }
        }
    }
    walks
}

/// Whether a `SCAN` step with this name reads no table. Such a step reads values that are bound to the statement, or an
/// earlier result of the statement.
fn is_no_table(name: &str) -> bool {
    const LISTS: [&str; 14] = [
        "CONSTANT",
        "json_each",
        "v",
        "j",
        "c",
        "i",
        "parked",
        "ended",
        "named",
        "after",
        "before",
        "fresh",
        "delayed",
        "suspect",
    ];
    let name = name.split(' ').next().unwrap_or_default();
    LISTS.contains(&name) || name.ends_with("-ROW") || name.starts_with("(subquery")
}

/// Returns one message for each SQL statement in the source code that no test case has executed.
fn unseen(seen: &BTreeSet<String>) -> Vec<String> {
    let seen: Vec<String> = seen.iter().map(|sql| plain(sql)).collect();
    let mut problems = Vec::new();
    for (file, text) in sources() {
        // A copy reads whole tables.
        if file.ends_with("/copied.rs") {
            continue;
        }
        if text.lines().any(|line| line.contains(".prepare") && !line.starts_with("use "))
            && !file.ends_with("/statement.rs")
        {
            problems.push(format!("{file} makes statements behind the back of statement.rs"));
        }
        // A migration runs only once.
        if file.ends_with("/schema/steps.rs") {
            continue;
        }
        for literal in literals(&text).filter(|literal| is_statement(literal)) {
            let parts: Vec<String> = states::spelled(&literal).split("$rows").map(plain).collect();
            let is_seen = seen.iter().any(|sql| parts.iter().all(|part| sql.contains(part.as_str())));
            if !is_seen {
                problems.push(format!("{file}: no case makes this statement:\n  {}", plain(&literal)));
            }
        }
    }
    problems
}

/// Returns the source code of the SQLite backend without its tests, as a map from file name to text.
fn sources() -> BTreeMap<String, String> {
    let store = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let folders =
        ["sqlite", "sqlite/overview", "sqlite/ops"].map(|folder| std::fs::read_dir(store.join(folder)).unwrap());
    let inner = folders.into_iter().flatten().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    let files = inner.chain([store.join("sqlite.rs")]).filter(|path| !path.ends_with("tests.rs"));
    let read = |path: std::path::PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        let own = text.split("mod tests {").next().unwrap_or_default().to_owned();
        (path.strip_prefix(&store).unwrap().to_str().unwrap().to_owned(), own)
    };
    files.map(read).collect()
}

fn is_statement(literal: &str) -> bool {
    const VERBS: [&str; 9] =
        ["SELECT ", "INSERT ", "UPDATE ", "DELETE ", "WITH ", "PRAGMA ", "BEGIN", "COMMIT", "ROLLBACK"];
    VERBS.iter().any(|verb| literal.starts_with(verb))
}

/// Returns the SQL statement as one line, in which words are separated by single spaces.
fn plain(sql: &str) -> String {
    sql.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Returns the content of each string literal in the source code of a file.
fn literals(source: &str) -> impl Iterator<Item = String> {
    let code = source.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut literals = Vec::new();
    let mut chars = code.chars();
    while chars.by_ref().any(|c| c == '"') {
        let mut literal = String::new();
        while let Some(c) = chars.next() {
            match c {
                '"' => break,
                '\\' => literal.extend(chars.next().filter(|c| *c != '\n').or(Some(' '))),
                c => literal.push(c),
            }
        }
        literals.push(literal);
    }
    literals.into_iter()
}

#[test]
fn statements_are_found_in_a_source() {
    let source = "// \"SELECT 1\"\nlet a = \"SELECT \\\n   2\"; let b = \"x\";\nquery(\"PRAGMA y\")";
    let found: Vec<_> = literals(source).filter(|literal| is_statement(literal)).map(|sql| plain(&sql)).collect();
    assert_eq!(found, ["SELECT 2", "PRAGMA y"]);
}

#[tokio::test]
async fn a_statement_that_walks_is_found() {
    let world = World::sqlite();
    world.open().await.close().await;
    let path = world.dir.path().join("store.db");
    let mut conn = SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
    for (sql, n) in [
        ("SELECT id FROM report WHERE id = ?1", 0),
        ("SELECT id FROM report WHERE created = ?1", 1),
        ("SELECT r.seq FROM json_each(?1) AS j JOIN report AS r ON r.created = j.value", 1),
        ("SELECT id FROM request WHERE id IN (SELECT value FROM json_each(?1)) ORDER BY created", 1),
    ] {
        let walks = walks(&mut conn, sql, &mut BTreeSet::new()).await;
        assert_eq!(walks.len(), n, "{sql}: {walks:?}");
    }
}
