//! Reads the database of the program under test.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection as _};
use tokio::runtime::Handle;

use crate::ledger::sentence;

/// If nothing progresses in this time, the remaining work is stuck. The longest pause of the schedule is a tenth of
/// this time or less.
const STUCK: Duration = Duration::from_mins(2);
/// The state of a delivered report and of a completed request. Lower states are unfinished. Higher states are other
/// ends.
const DONE: i64 = 2;
const CANCELLED: i64 = 4;

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
    pub(crate) fn read(runtime: &Handle, file: &Path, has_requests: bool) -> Self {
        runtime.block_on(async {
            let mut connection = open(file).await.expect("the database");
            let requests = sqlx::query_as("SELECT id, state FROM request").fetch_all(&mut connection).await;
            let reports = sqlx::query_as(
                "SELECT subject, state, attempt, count(n) AS attempts, coalesce(max(n), 0) AS last \
                 FROM report LEFT JOIN attempt ON attempt.report = report.seq GROUP BY report.seq",
            );
            let reports: Vec<(String, i64, i64, i64, i64)> =
                reports.fetch_all(&mut connection).await.expect("the reports");
            let requests: Vec<(String, i64)> = requests.expect("the requests");
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
pub(crate) fn quiet(runtime: &Handle, file: &Path) {
    let (mut least, mut since) = (i64::MAX, Instant::now());
    while since.elapsed() < STUCK {
        // Reading can fail, because the program under test may be opening the file at this moment.
        let left = runtime.block_on(left(file));
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

async fn left(file: &Path) -> Result<i64, sqlx::Error> {
    let mut connection = open(file).await?;
    let sql = "SELECT (SELECT count(*) FROM request WHERE state < 2) + (SELECT count(*) FROM report WHERE state < 2)";
    let left = sqlx::query_scalar(sql).fetch_one(&mut connection).await;
    connection.close().await?;
    left
}

/// Deletes the oldest unfinished request or report, while no program owns the file. Returns its id. The oldest is
/// chosen, because the answer to a later one may never have reached its client.
pub(crate) fn forget(runtime: &Handle, file: &Path) -> Option<String> {
    runtime.block_on(async {
        let mut connection = open(file).await.ok()?;
        for (table, id) in [("request", "id"), ("report", "subject")] {
            let sql = format!(
                "DELETE FROM {table} WHERE seq = (SELECT min(seq) FROM {table} WHERE state < 2) RETURNING {id}"
            );
            let deleted = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_optional(&mut connection).await.ok()?;
            if deleted.is_some() {
                return deleted;
            }
        }
        None
    })
}

async fn open(file: &Path) -> Result<SqliteConnection, sqlx::Error> {
    let options = SqliteConnectOptions::new().filename(file).create_if_missing(false);
    SqliteConnection::connect_with(&options).await
}
