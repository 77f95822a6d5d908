//! No SQL statement of the PostgreSQL backend gets slower as tables grow: each finds its rows by an index.
//!
//! First, all cases of the suite run, so that every statement is executed as the program executes it. Then PostgreSQL
//! explains the plan of each executed statement, for tables with many rows.

use std::collections::BTreeSet;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};

use super::world::World;
use crate::postgres::seen;

/// The tables and indexes of which a statement may read all entries, because there are few. Each entry contains the first
/// part of the name, a part of the SQL statement, and the reason why there are few.
const FEW: &[(&str, &str, &str)] = &[
    ("disabled", "FROM disabled", "it is bounded, and read when the program starts or a caller asks for it"),
    ("token_pkey", "FROM token ORDER BY seq", "tokens are bounded, and listed when an operator asks for them"),
    ("token_pkey", "DELETE FROM token", "tokens are bounded, and rarely revoked"),
    ("token_name", "count(*) FROM token", "tokens are bounded, and rarely made"),
    ("schedule", "FROM schedule", "it has one row for each schedule of the program"),
    ("token_use", "FROM token_use", "it has one row for each token"),
    ("node", "UPDATE node", "it has one row for each of the last starts"),
    ("request_", "GROUP BY", "waiting requests, which are bounded"),
    ("report_", "count(*) FROM report WHERE state", "the number is asked for rarely"),
    ("node_living", "FROM node", "it has one row for each node that lives"),
    ("node_left", "FROM node", "it has one row for each node whose claims were not taken over yet"),
    ("probe", "DELETE FROM probe", "it is empty"),
    ("report_delivering", "min(due)", "reports that were claimed when an earlier process ended"),
];

/// Rows of all kinds, of which few wait: the size of a store that has run for a while.
const ROWS: &str = "
    INSERT INTO request (id, route, owner, state, priority, due, later, epoch, failures, crashes, node, created, finished,
            deadline, idempotency)
        SELECT 'r' || n, '/' || n % 5, 'o' || n % 100, CASE WHEN n % 50 > 4 THEN 2 + n % 3 WHEN n % 50 = 4 THEN 1 ELSE 0 END,
            0, n, n % 50 = 0, 1, 0, (n % 50 = 1)::integer, CASE WHEN n % 50 = 4 THEN 1 END, n,
            CASE WHEN n % 50 > 4 THEN n END, CASE WHEN n % 7 = 0 THEN n END, CASE WHEN n % 3 = 0 THEN int8send(n) END
        FROM generate_series(1, 50000) AS n;
    INSERT INTO request_body SELECT seq, '', '{}' FROM request;
    INSERT INTO registration SELECT seq, '{}' FROM request WHERE seq % 2 = 0;
    INSERT INTO outcome SELECT seq, 1, 'none', '{}' FROM request WHERE state > 1;
    INSERT INTO run_progress SELECT seq, 1, 1, 0.5, NULL, NULL, 1 FROM request;
    INSERT INTO checkpoint SELECT seq, '' FROM request;
    INSERT INTO run SELECT seq, 1, 1, 1, 'failed' FROM request;
    INSERT INTO disabled (url, since, reason) SELECT 'https://' || n, 1, '' FROM generate_series(1, 100) AS n;
    INSERT INTO report (id, due, epoch, attempt, node, held, created, finished, state, subject, origin)
        SELECT gen_random_uuid(), n, 1, 1, CASE WHEN n % 50 = 3 THEN 1 END, CASE WHEN n % 50 = 0 THEN 1 + n % 100 END, n,
            CASE WHEN n % 50 > 3 THEN n END, CASE WHEN n % 50 > 3 THEN 2 ELSE n % 50 - 2 END, 'r' || n, 'https://' || n % 100
        FROM generate_series(1, 50000) AS n;
    INSERT INTO report_body SELECT seq, origin || '/x', '', NULL, '{}', true FROM report;
    INSERT INTO attempt SELECT seq, 1, 1, 1, 1, 200, NULL, '' FROM report;
    INSERT INTO token (id, name, hash, terms, created, revoked)
        SELECT n, n, '', '', 1, CASE WHEN n % 2 = 0 THEN 1 END FROM generate_series(1, 1000) AS n;
    INSERT INTO token_use SELECT id, 1 FROM token;
    INSERT INTO schedule SELECT n, 1 FROM generate_series(1, 20) AS n;
    INSERT INTO audit (at, who, what, subject, detail) SELECT n, '', '', '', '' FROM generate_series(1, 50000) AS n;
    INSERT INTO series SELECT n % 3, CASE WHEN n % 3 > 0 THEN '/' || n % 50 ELSE '' END, 1, n, 1, '{}' FROM generate_series(1, 50000) AS n;
    INSERT INTO handed_in SELECT 'h' || n, CASE WHEN n % 2 = 0 THEN '' END, '' FROM generate_series(1, 50000) AS n;
    ANALYZE handed_in, series, node, request, request_body, registration, outcome, run, run_progress, checkpoint, disabled, report, report_body, attempt, token, audit;
";

async fn connect(world: &World) -> PgConnection {
    let options = world.database().reveal().parse::<sqlx::postgres::PgConnectOptions>().unwrap();
    let mut conn = options.options([("search_path", world.database().schema())]).connect().await.unwrap();
    let settings = "SET enable_seqscan = off; SET jit = off; SET plan_cache_mode = force_generic_plan";
    sqlx::raw_sql(settings).execute(&mut conn).await.unwrap();
    conn
}

#[test]
#[ignore = "needs PostgreSQL; run it with --include-ignored"]
fn every_statement_finds_its_rows_by_an_index() {
    // The futures of the driver are large without optimisation, so the thread of a test has too little stack for them.
    let thread = std::thread::Builder::new().stack_size(32 << 20).spawn(explain_all).unwrap();
    thread.join().unwrap();
}

fn explain_all() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(super::all_on_postgres());
    runtime.block_on(super::all_kept_by_postgres());
    super::pg_nodes::for_their_statements();
    runtime.block_on(async {
        let world = World::postgres();
        world.open().await.close().await;
        let mut conn = connect(&world).await;
        sqlx::raw_sql(ROWS).execute(&mut conn).await.unwrap();
        let (mut problems, mut excused) = (Vec::new(), BTreeSet::new());
        for sql in seen::all() {
            // These statements read the tables of PostgreSQL itself.
            if !sql.contains("pg_") {
                problems.extend(walks(&mut conn, sql, &mut excused).await);
            }
        }
        assert!(seen::all().len() > 60, "{} statements", seen::all().len());
        problems.extend(FEW.iter().filter(|few| !excused.contains(few)).map(|few| format!("not found: {few:?}")));
        assert!(problems.is_empty(), "{}", problems.join("\n\n"));
    });
}

/// Returns the steps of the statement's plan that read a whole table or a whole index, but not the steps that `FEW`
/// allows. Each entry of `FEW` that has allowed a step is added to `excused`.
async fn walks(
    conn: &mut PgConnection,
    sql: &str,
    excused: &mut BTreeSet<&'static (&'static str, &'static str, &'static str)>,
) -> Vec<String> {
    let prepare = AssertSqlSafe(format!("PREPARE it AS {sql}"));
    if let Err(error) = sqlx::raw_sql(prepare).execute(&mut *conn).await {
        return vec![format!("{error}:\n  {sql}")];
    }
    // The plan is made as in the program: the lists of readers are planned for the values of the variables, because their
    // filters are optional.
    let mode = if sql.contains("IS NULL OR") { "custom" } else { "generic" };
    sqlx::raw_sql(AssertSqlSafe(format!("SET plan_cache_mode = force_{mode}_plan"))).execute(&mut *conn).await.unwrap();
    let types = "SELECT parameter_types::text[] FROM pg_prepared_statements WHERE name = 'it'";
    let types: Vec<String> = sqlx::query_scalar(types).fetch_one(&mut *conn).await.unwrap();
    let values: Vec<&str> = types.iter().map(|name| value(name)).collect();
    let values = if values.is_empty() { String::new() } else { format!("({})", values.join(", ")) };
    let explain = AssertSqlSafe(format!("EXPLAIN (COSTS off) EXECUTE it {values}"));
    let rows = sqlx::raw_sql(explain).fetch_all(&mut *conn).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    sqlx::raw_sql("DEALLOCATE it").execute(conn).await.unwrap();
    let plan: Vec<String> = rows.iter().map(|row| row.try_get::<String, _>(0).unwrap()).collect();
    // A query that takes the first rows in the order of an index stops after these rows.
    let stops = |at: usize| {
        let mut above = plan.iter().take(at).rev().take(2).map(|line| step(line));
        above.by_ref().take_while(|step| !step.starts_with("Sort")).any(|step| step.starts_with("Limit"))
    };
    let mut walks = Vec::new();
    for (at, line) in plan.iter().enumerate() {
        let step = step(line);
        let read = [" using ", " on "].iter().find_map(|word| Some(step.split_once(word)?.1)).unwrap_or_default();
        let is_index = step.starts_with("Index ") || step.starts_with("Bitmap Index Scan");
        let found = plan.iter().skip(at + 1).take_while(|line| !line.contains("->"));
        let is_sought = found.into_iter().any(|line| line.contains("Index Cond"));
        if step.starts_with("Seq Scan") || is_index && step.contains("Scan") && !is_sought && !stops(at) {
            match FEW.iter().find(|(name, of, _)| read.starts_with(name) && sql.contains(of)) {
                Some(few) => drop(excused.insert(few)),
                None => walks.push(format!("{step}:\n  {sql:.500}\n{}", plan.join("\n"))),
            }
        }
    }
    walks
}

/// Returns a usual value of a type: a number of rows or of bytes, or a few names.
fn value(name: &str) -> &'static str {
    match name {
        "bigint" | "integer" | "smallint" | "numeric" => "100",
        "double precision[]" => "'{0.5, NULL}'",
        "bigint[]" | "smallint[]" => "'{1, 2, 3}'",
        "text" => "'/1'",
        "text[]" => "'{/1, o2, r3}'",
        "uuid" => "gen_random_uuid()",
        "uuid[]" => "ARRAY[gen_random_uuid(), gen_random_uuid()]",
        "boolean" => "false",
        "boolean[]" => "'{true, false, NULL}'",
        "bytea" => "''",
        "bytea[]" => "ARRAY[''::bytea]",
        other => panic!("{other}"),
    }
}

/// Returns a line of a plan without the arrow at its beginning.
fn step(line: &str) -> &str {
    line.trim_start().trim_start_matches("->").trim_start()
}

#[tokio::test]
#[ignore = "needs PostgreSQL; run it with --include-ignored"]
async fn a_statement_that_walks_is_found() {
    let world = World::postgres();
    world.open().await.close().await;
    let mut conn = connect(&world).await;
    sqlx::raw_sql(ROWS).execute(&mut conn).await.unwrap();
    for (sql, n) in [
        ("SELECT id FROM report WHERE id = $1", 0),
        ("SELECT id FROM report WHERE created = $1", 1),
        ("SELECT id FROM request WHERE failures = $1", 1),
        ("SELECT r.seq FROM unnest($1::text[]) AS i (id) JOIN request AS r ON r.id = i.id", 0),
        ("SELECT due FROM report WHERE state = 0 ORDER BY due, seq LIMIT 1", 0),
    ] {
        let walks = walks(&mut conn, sql, &mut BTreeSet::new()).await;
        assert_eq!(walks.len(), n, "{sql}: {walks:?}");
    }
}
