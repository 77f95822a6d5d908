//! Tells the other nodes that a commit may concern them: `NOTIFY`, after the commit, without data, on a connection of its
//! own. In the transaction itself, a `NOTIFY` would make all commits of the database wait for each other.
//!
//! A call that is lost costs time and no row, because the other nodes also look by themselves.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use sqlx::AssertSqlSafe;
use sqlx::postgres::{PgConnection, PgListener, PgPool};

use super::connect::Connector;
use super::failure::within;
use super::members::key;
use crate::backend::Heard;
use crate::ops::Op;

/// The pause after a call, so that many commits make few calls.
const PAUSE: Duration = Duration::from_millis(20);
/// The pause before the next try to connect.
const AGAIN: Duration = Duration::from_secs(1);
/// If nothing is heard for this long, the connection is asked whether it still works.
const QUIET: Duration = Duration::from_secs(10);
/// The longest time that a call takes.
const CALL: Duration = Duration::from_secs(5);

pub(super) struct Bell {
    connector: Connector,
    rung: Arc<Heard>,
    heard: Arc<Heard>,
}

impl Bell {
    pub(super) fn new(connector: &Connector) -> Self {
        Self { connector: connector.clone(), rung: Arc::default(), heard: Arc::default() }
    }

    /// Returns the signals for what other nodes tell.
    pub(super) fn heard(&self) -> Arc<Heard> {
        self.heard.clone()
    }

    /// Tells the other nodes of a batch that was committed.
    pub(super) fn ring_for(&self, ops: &[Op]) {
        if ops.iter().any(leaves_work) {
            self.rung.work.notify_one();
        }
        if ops.iter().any(|op| matches!(op, Op::SettleRequest(_) | Op::CancelRunning(_))) {
            self.rung.ends.notify_one();
        }
    }

    /// Returns the two tasks of the bell: one calls, the other listens. They end when they are dropped.
    pub(super) fn run(&self) -> BoxFuture<'static, ()> {
        let (connector, rung, heard) = (self.connector.clone(), self.rung.clone(), self.heard.clone());
        async move {
            let names = Names::of(connector.schema());
            tokio::join!(call(&connector, &names, &rung), listen(&connector, &names, &heard));
        }
        .boxed()
    }
}

/// Returns whether the operation may have left a row that another node could claim.
fn leaves_work(op: &Op) -> bool {
    match op {
        Op::Submit(submit) => submit.room.is_none(),
        Op::ReleaseRequest(_) | Op::ReleaseReport(_) | Op::Enable(_) | Op::Replay(_) | Op::Recover(_) => true,
        op => op.reports().iter().any(|outgoing| !outgoing.is_pre_claimed()),
    }
}

/// The names of the two channels. A schema has channels of its own.
struct Names {
    work: String,
    ends: String,
}

impl Names {
    fn of(schema: &str) -> Self {
        let key = key(schema).unsigned_abs();
        Self { work: format!("postback_work_{key:x}"), ends: format!("postback_ends_{key:x}") }
    }
}

async fn call(connector: &Connector, names: &Names, rung: &Heard) {
    let mut session: Option<PgConnection> = None;
    loop {
        let channel = tokio::select! {
            () = rung.work.notified() => &names.work,
            () = rung.ends.notified() => &names.ends,
        };
        match notify(connector, session.take(), channel).await {
            Ok(conn) => session = Some(conn),
            Err(error) => {
                tracing::debug!(%error, "the other nodes could not be told of a commit; they find out by themselves");
                tokio::time::sleep(AGAIN).await;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn notify(
    connector: &Connector,
    session: Option<PgConnection>,
    channel: &str,
) -> Result<PgConnection, sqlx::Error> {
    let mut conn = if let Some(conn) = session {
        conn
    } else {
        let mut conn = connector.connect().await?;
        // A call that is lost when the server crashes does no harm.
        within(CALL, sqlx::raw_sql("SET synchronous_commit = off").execute(&mut conn)).await?;
        conn
    };
    // The name of the channel has only letters, digits and `_`.
    within(CALL, sqlx::raw_sql(AssertSqlSafe(format!("NOTIFY {channel}"))).execute(&mut conn)).await?;
    Ok(conn)
}

async fn listen(connector: &Connector, names: &Names, heard: &Heard) {
    let pool: PgPool = connector.listen();
    loop {
        if let Err(error) = listen_once(&pool, names, heard).await {
            tracing::debug!(%error, "calls of other nodes are not heard at the moment; this node looks by itself");
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn listen_once(pool: &PgPool, names: &Names, heard: &Heard) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen_all([names.work.as_str(), names.ends.as_str()]).await?;
    // What happened before this node could hear is looked for now.
    heard.work.notify_one();
    heard.ends.notify_one();
    loop {
        match tokio::time::timeout(QUIET, listener.try_recv()).await {
            Ok(Ok(Some(call))) => {
                let signal = if call.channel() == names.work { &heard.work } else { &heard.ends };
                signal.notify_one();
            }
            Ok(lost) => return lost.map(drop),
            // Either nothing has happened, or the network has lost the connection.
            Err(_) => within(CALL, sqlx::raw_sql("SELECT 1").execute(&mut listener)).await.map(drop)?,
        }
    }
}
