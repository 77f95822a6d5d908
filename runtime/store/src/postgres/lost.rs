//! Calls whose question or answer the network has lost, without closing the connection: a firewall has forgotten it, or an
//! address leads elsewhere. The driver itself sets no limit.
//!
//! A server that is slow must not be taken for that, so a second connection asks the server what it is doing.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnection;

use super::connect::{Connector, ServerProcess};
use super::failure::within;
use super::statement::query_scalar;

/// How long a call takes before the server is asked about it. Together with the questions and with opening new
/// connections, this is less than the lease of a node.
const SOON: Duration = Duration::from_secs(3);
/// The same after several failures.
const LATE: Duration = Duration::from_mins(1);
/// How long the server must have been waiting for this process, in seconds.
const WAITING: f64 = 1.5;
/// The longest time that the server takes to say what it is doing. After that, the server itself may be slow.
const ANSWER: Duration = Duration::from_secs(5);

/// Watches the calls of the writer.
#[derive(Clone)]
pub(super) struct Watch {
    connector: Arc<Connector>,
    soon: Duration,
}

impl Watch {
    pub(super) fn new(connector: &Arc<Connector>) -> Self {
        Self { connector: Arc::clone(connector), soon: SOON }
    }

    /// A transaction was committed.
    pub(super) fn committed(&mut self) {
        self.soon = SOON;
    }

    /// A call has failed. The next one gets more time: a large batch may need it on a slow network, where the server waits
    /// for the end of the question.
    pub(super) fn failed(&mut self) {
        self.soon = self.soon.saturating_mul(2).min(LATE);
    }

    /// Awaits a call to the server, but not for longer than `limit`, and not if the server has stopped working on the call.
    /// After an error, close the connection.
    pub(super) async fn over<T>(
        &self,
        limit: Duration,
        process: ServerProcess,
        call: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, sqlx::Error> {
        // Some cases of the suite move Tokio's clock forward, which would end the pauses while the server works.
        if cfg!(test) {
            return call.await;
        }
        let call = async {
            let (mut call, mut lost) = (pin!(call), pin!(self.lost(process)));
            tokio::select! {
                biased;
                answer = &mut call => answer,
                () = &mut lost => {
                    let what = "the network has lost a question to PostgreSQL, or its answer";
                    Err(sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, what)))
                }
            }
        };
        within(limit, call).await
    }

    /// Returns when the server waits for this process, which waits for the server.
    async fn lost(&self, process: ServerProcess) {
        let mut before = None;
        loop {
            tokio::time::sleep(self.soon).await;
            // Without a second connection nothing is known. The future is large, and seldom needed.
            let ask = Box::pin(async { waits(&mut self.connector.connect().await?, process).await });
            let seen = within(ANSWER, ask).await.ok().flatten();
            // This process may have been stopped, and may just be reading the answer. So the server is asked twice.
            if seen.is_some() && seen == before {
                return;
            }
            before = seen;
        }
    }
}

/// Returns since when the server has been waiting for the next call of this session, if it does: a number that
/// changes with each call. 0: the session has ended.
async fn waits(
    conn: &mut PgConnection,
    ServerProcess { pid, started }: ServerProcess,
) -> Result<Option<i64>, sqlx::Error> {
    let sql = "SELECT coalesce(max((extract(epoch FROM state_change) * 1000000)::bigint), 0) FROM pg_stat_activity \
               WHERE pid = $1 AND (extract(epoch FROM backend_start) * 1000000)::bigint = $2 \
               HAVING coalesce(bool_and(state LIKE 'idle%' AND state_change < clock_timestamp() - make_interval(secs => $3)), true)";
    query_scalar(sql).bind(pid).bind(started).bind(WAITING).fetch_optional(conn).await
}
