//! A workload server whose handler commits its own rows together with a request and a report.

use postback::{App, Config, HandIn, Payload, Report, RequestId, Webhook};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection as _};

type Failed = Box<dyn std::error::Error + Send + Sync>;

#[derive(Deserialize)]
struct Settings {
    webhook_url: String,
    /// The database of the store: the URL of a PostgreSQL database, or the path of a SQLite file.
    database: String,
}

#[derive(Deserialize)]
struct Order {
    name: String,
    /// What becomes of the transaction.
    then: Then,
}

#[derive(Clone, Copy, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Then {
    Commit,
    /// Commits, and tells nobody.
    CommitQuietly,
    RollBack,
    /// The process is killed right after the commit.
    CommitAndDie,
}

/// A connection of the handler's own.
enum Database {
    Sqlite(SqliteConnection),
    Postgres(Box<PgConnection>),
}

impl Database {
    async fn connect(settings: &Settings) -> Result<Self, Failed> {
        let database = &settings.database;
        let mut conn = if database.starts_with("postgres:") {
            // The rows of the program are in a schema of their own.
            let (server, _) = database.split_once("&search_path=").unwrap_or((database, ""));
            Self::Postgres(Box::new(PgConnection::connect(server).await?))
        } else {
            Self::Sqlite(SqliteConnection::connect(database).await?)
        };
        let orders = "CREATE TABLE IF NOT EXISTS orders (name TEXT PRIMARY KEY, shipping TEXT NOT NULL)";
        conn.execute(orders, &[]).await?;
        conn.execute("CREATE TABLE IF NOT EXISTS shipped (name TEXT NOT NULL)", &[]).await?;
        Ok(conn)
    }

    async fn execute(&mut self, sql: &'static str, values: &[&str]) -> Result<(), Failed> {
        match self {
            Self::Sqlite(conn) => {
                let query = values.iter().fold(sqlx::query(sql), |query, value| query.bind(value.to_string()));
                query.execute(conn).await?;
            }
            Self::Postgres(conn) => {
                let query = values.iter().fold(sqlx::query(sql), |query, value| query.bind(value.to_string()));
                query.execute(&mut **conn).await?;
            }
        }
        Ok(())
    }

    async fn hand_in(&mut self, hand_in: &HandIn) -> Result<(), Failed> {
        let Some(row) = hand_in.row() else { return Ok(()) };
        match self {
            Self::Sqlite(conn) => {
                sqlx::query(AssertSqlSafe(row.sql)).bind(row.id).bind(row.content).execute(conn).await?;
            }
            Self::Postgres(conn) => {
                sqlx::query(AssertSqlSafe(row.sql)).bind(row.id).bind(row.content).execute(&mut **conn).await?;
            }
        }
        Ok(())
    }

    async fn shipping(&mut self, order: &str) -> Result<Option<String>, Failed> {
        let sql = "SELECT shipping FROM orders WHERE name = $1";
        Ok(match self {
            Self::Sqlite(conn) => sqlx::query_scalar(sql).bind(order).fetch_optional(conn).await?,
            Self::Postgres(conn) => sqlx::query_scalar(sql).bind(order).fetch_optional(&mut **conn).await?,
        })
    }

    async fn count(&mut self, sql: &'static str, name: &str) -> Result<i64, Failed> {
        Ok(match self {
            Self::Sqlite(conn) => sqlx::query_scalar(sql).bind(name).fetch_one(conn).await?,
            Self::Postgres(conn) => sqlx::query_scalar(sql).bind(name).fetch_one(&mut **conn).await?,
        })
    }
}

/// Writes an order, and hands in the request to ship it and a report, in one transaction. Returns the id of the request.
async fn order(settings: Config<Settings>, order: Payload<Order>) -> Result<String, Failed> {
    let mut database = Database::connect(&settings).await?;
    if let Some(shipping) = database.shipping(&order.name).await? {
        return Ok(shipping);
    }
    let poster = postback::poster().ok_or("no poster")?;
    let shipping = poster.prepare_request("/ship", &order.name).await?;
    let report = Report::completed(&order.name, "ordered")?;
    let report = poster.prepare(&Webhook::trusted(&settings.webhook_url), &report)?;

    let postgres = matches!(database, Database::Postgres(_));
    database.execute(if postgres { "BEGIN" } else { "BEGIN IMMEDIATE" }, &[]).await?;
    database.execute("INSERT INTO orders (name, shipping) VALUES ($1, $2)", &[&order.name, shipping.id()]).await?;
    database.hand_in(&shipping).await?;
    database.hand_in(&report).await?;
    database.execute(if order.then == Then::RollBack { "ROLLBACK" } else { "COMMIT" }, &[]).await?;
    if order.then == Then::CommitAndDie {
        let this = rustix::process::getpid();
        rustix::process::kill_process(this, rustix::process::Signal::KILL)?;
        std::future::pending::<()>().await;
    }
    if order.then == Then::Commit {
        shipping.committed();
    }
    Ok(shipping.id().to_owned())
}

async fn ship(settings: Config<Settings>, order: Payload<String>, _: RequestId) -> Result<String, Failed> {
    let mut database = Database::connect(&settings).await?;
    database.execute("INSERT INTO shipped (name) VALUES ($1)", &[&order]).await?;
    Ok(format!("shipped {}", *order))
}

/// How many rows there are for an order.
#[derive(Serialize)]
struct Rows {
    orders: i64,
    shipped: i64,
}

async fn rows(settings: Config<Settings>, order: Payload<String>) -> Result<Rows, Failed> {
    let mut database = Database::connect(&settings).await?;
    Ok(Rows {
        orders: database.count("SELECT count(*) FROM orders WHERE name = $1", &order).await?,
        shipped: database.count("SELECT count(*) FROM shipped WHERE name = $1", &order).await?,
    })
}

/// Prepares what cannot be handed in. Returns what is wrong with it.
async fn refused(target: Payload<String>) -> Result<String, Failed> {
    let poster = postback::poster().ok_or("no poster")?;
    match poster.prepare_request(&target, &["not", "a", "text"]).await {
        Ok(_) => Err("it was prepared".into()),
        Err(error) => Ok(error.to_string()),
    }
}

#[postback::main]
async fn main(settings: Settings) -> App<Settings> {
    App::new(settings)
        .route("/order", order)
        .route("/ship", ship)
        .route("/rows", rows)
        .route("/refused", refused)
        .timeout(std::time::Duration::from_mins(1))
}
