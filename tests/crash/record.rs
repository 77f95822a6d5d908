//! Reads the database of the program under test.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};
use tokio::runtime::Handle;

use crate::ledger::sentence;

/// If nothing progresses in this time, the remaining work is stuck. The longest pause of the schedule is a tenth of
/// this time or less.
const STUCK: Duration = Duration::from_mins(2);
/// The state of a delivered report and of a completed request. Lower states are unfinished. Higher states are other
/// ends.
const DONE: i64 = 2;
const CANCELLED: i64 = 4;

/// Where the program under test keeps its rows.
pub(crate) enum Database {
    File(PathBuf),
    Postgres(Box<PgConnectOptions>),
}

enum Open {
    File(SqliteConnection),
    Postgres(PgConnection),
}

impl Database {
    async fn open(&self) -> Result<Open, sqlx::Error> {
        Ok(match self {
            Self::File(path) => {
                let options = SqliteConnectOptions::new().filename(path).create_if_missing(false);
                Open::File(SqliteConnection::connect_with(&options).await?)
            }
            Self::Postgres(options) => Open::Postgres(options.connect().await?),
        })
    }
}

/// A row of the statement about reports.
type ReportRow = (String, i64, i64, i64, i64);

impl Open {
    async fn requests(&mut self) -> Result<Vec<(String, i64)>, sqlx::Error> {
        let sql = "SELECT id, CAST(state AS bigint) FROM request";
        match self {
            Self::File(conn) => sqlx::query_as(sql).fetch_all(conn).await,
            Self::Postgres(conn) => sqlx::query_as(sql).fetch_all(conn).await,
        }
    }

    async fn reports(&mut self) -> Result<Vec<ReportRow>, sqlx::Error> {
        let sql = "SELECT subject, CAST(state AS bigint), attempt, count(n) AS attempts, coalesce(max(n), 0) AS last \
                   FROM report LEFT JOIN attempt ON attempt.report = report.seq GROUP BY report.seq";
        match self {
            Self::File(conn) => sqlx::query_as(sql).fetch_all(conn).await,
            Self::Postgres(conn) => sqlx::query_as(sql).fetch_all(conn).await,
        }
    }

    /// The number of requests and reports that have not ended.
    async fn left(&mut self) -> Result<i64, sqlx::Error> {
        let sql =
            "SELECT (SELECT count(*) FROM request WHERE state < 2) + (SELECT count(*) FROM report WHERE state < 2)";
        match self {
            Self::File(conn) => sqlx::query_scalar(sql).fetch_one(conn).await,
            Self::Postgres(conn) => sqlx::query_scalar(sql).fetch_one(conn).await,
        }
    }

    async fn delete(&mut self, table: &str, id: &str) -> Result<Option<String>, sqlx::Error> {
        let sql = AssertSqlSafe(format!(
            "DELETE FROM {table} WHERE seq = (SELECT min(seq) FROM {table} WHERE state < 2) RETURNING {id}"
        ));
        match self {
            Self::File(conn) => sqlx::query_scalar(sql).fetch_optional(conn).await,
            Self::Postgres(conn) => sqlx::query_scalar(sql).fetch_optional(conn).await,
        }
    }

    async fn close(self) -> Result<(), sqlx::Error> {
        match self {
            Self::File(conn) => conn.close().await,
            Self::Postgres(conn) => conn.close().await,
        }
    }
}

/// The rows of the database after the harness has run.
#[derive(Default)]
pub(crate) struct Record {
    /// The state of each request, by id. It is empty for a library, which has no requests.
    requests: HashMap<String, i64>,
    pub(crate) reports: Vec<Report>,
    has_requests: bool,
}

pub(crate) struct Report {
    pub(crate) subject: String,
    state: i64,
    /// The number of recorded attempts.
    pub(crate) attempts: i64,
    /// The number of attempts that the row of the report says.
    attempt: i64,
    /// The number of the last recorded attempt.
    last: i64,
}

impl Record {
    pub(crate) fn read(runtime: &Handle, database: &Database, has_requests: bool) -> Self {
        runtime.block_on(async {
            let mut open = database.open().await.expect("the database");
            let requests = open.requests().await.expect("the requests");
            let reports = open.reports().await.expect("the reports");
            let report = |(subject, state, attempt, attempts, last)| Report { subject, state, attempts, attempt, last };
            let reports = reports.into_iter().map(report).collect();
            Self { requests: requests.into_iter().collect(), reports, has_requests }
        })
    }

    pub(crate) fn is_cancelled(&self, id: &str) -> bool {
        self.requests.get(id) == Some(&CANCELLED)
    }

    pub(crate) fn delivered(&self) -> impl Iterator<Item = &Report> {
        self.reports.iter().filter(|report| report.state == DONE)
    }

    /// The broken promises that the database shows, alone or compared with the accepted ids. A request for which
    /// `cancelled` is true may have ended as cancelled, without a report.
    pub(crate) fn broken<'a>(
        &self,
        accepted: impl Iterator<Item = &'a String> + Clone,
        cancelled: impl Fn(&String) -> bool,
    ) -> Vec<String> {
        let subjects = |of: &dyn Fn(&Report) -> bool| {
            self.reports.iter().filter(|report| of(report)).map(|report| report.subject.clone()).collect()
        };
        let mut rows: HashMap<&str, usize> = HashMap::new();
        for report in &self.reports {
            *rows.entry(&report.subject).or_default() += 1;
        }
        let ids = |holds: &dyn Fn(&String) -> bool| accepted.clone().filter(|id| holds(id)).cloned().collect();
        let requests = |holds: &dyn Fn(i64) -> bool| {
            self.requests.iter().filter(|(_, state)| holds(**state)).map(|(id, _)| id.clone()).collect()
        };
        let failed = self.requests.iter().filter(|(id, state)| **state > DONE && !cancelled(id));
        let failed = failed.map(|(id, _)| id.clone()).collect();
        [
            sentence("requests are stuck", requests(&|state| state < DONE)),
            sentence("requests did not complete", failed),
            sentence("requests were forgotten", ids(&|id| self.has_requests && !self.requests.contains_key(id))),
            sentence("reports were forgotten", ids(&|id| !rows.contains_key(id.as_str()) && !cancelled(id))),
            sentence(
                "were reported twice",
                rows.iter().filter(|(_, n)| **n > 1).map(|(id, _)| (*id).to_owned()).collect(),
            ),
            sentence("reports are stuck", subjects(&|report| report.state < DONE)),
            sentence("reports were given up", subjects(&|report| report.state > DONE)),
            sentence(
                "reports have gaps in their attempts",
                subjects(&|report| report.attempts != report.last || report.attempts != report.attempt),
            ),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// Waits until no work is left, or until the remaining work is stuck.
pub(crate) fn quiet(runtime: &Handle, database: &Database) {
    let (mut least, mut since) = (i64::MAX, Instant::now());
    while since.elapsed() < STUCK {
        // Reading can fail, because the program under test may be opening the database at this moment.
        let left = runtime.block_on(left(database));
        if matches!(left, Ok(0)) {
            return;
        }
        if let Ok(left) = left
            && left < least
        {
            (least, since) = (left, Instant::now());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

async fn left(database: &Database) -> Result<i64, sqlx::Error> {
    let mut open = database.open().await?;
    let left = open.left().await;
    open.close().await?;
    left
}

/// Deletes the oldest unfinished request or report, while no program owns the database. Returns its id. The oldest is
/// chosen, because the answer to a later one may never have reached its client.
pub(crate) fn forget(runtime: &Handle, database: &Database) -> Option<String> {
    runtime.block_on(async {
        let mut open = database.open().await.ok()?;
        for (table, id) in [("request", "id"), ("report", "subject")] {
            let deleted = open.delete(table, id).await.ok()?;
            if deleted.is_some() {
                return deleted;
            }
        }
        None
    })
}
