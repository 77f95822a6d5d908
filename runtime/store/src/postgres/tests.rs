//! Tests of the PostgreSQL backend alone, without the writer and the queues of the store.

use super::*;
use crate::ops::Submit;
use crate::record::{NewRequest, Submitted};
use crate::suite::world::new_schema;
use postback_wire::id::NodeId;
use postback_wire::id::RequestId;
use postback_wire::time::{Clock, Timestamp};

/// Returns the key of the lock of a schema.
pub(crate) fn lock_key(schema: &str) -> i64 {
    members::key(schema)
}

fn submit(id: &str) -> Op {
    let request = NewRequest::new(RequestId::stored(id), "/a", "", Timestamp::default());
    Submit { request: Box::new(request), room: None, is_handed_in: false, slot: None }.into()
}

async fn started() -> (Postgres, Now) {
    let (postgres, _) = start::start(&new_schema(), NodeId::generate(), &Clock::system()).await.unwrap();
    (postgres, Now { wall: Timestamp::default(), due: Timestamp::default() })
}

#[test]
fn only_a_busy_node_among_others_waits_before_a_batch() {
    let millis = Duration::from_millis;
    assert_eq!(pause(false, 50, millis(4)), Duration::ZERO);
    assert_eq!(pause(true, 1, millis(4)), Duration::ZERO);
    assert_eq!(pause(true, 2, millis(4)), millis(2));
    assert_eq!(pause(true, 50, millis(400)), LONGEST_PAUSE);
}

#[tokio::test]
#[ignore = "needs PostgreSQL; run it with --include-ignored"]
async fn the_outcome_of_a_commit_is_looked_up() {
    let (mut postgres, now) = started().await;
    let replies = postgres.apply(&[submit("r")], now).await.unwrap();
    assert!(matches!(replies[..], [Reply::Submit(Submitted::New)]));
    assert!(!postgres.committed().await.unwrap());
    // The test sets the backend's count of commits back by one, as if the backend had received an error from the commit.
    postgres.start.commits -= 1;
    assert!(postgres.committed().await.unwrap());
    assert!(!postgres.committed().await.unwrap());
    let replies = postgres.apply(&[submit("r"), submit("s")], now).await.unwrap();
    assert!(matches!(replies[..], [Reply::Submit(Submitted::Known), Reply::Submit(Submitted::New)]));
    Box::new(postgres).close().await;
}

/// The connection is lost after `COMMIT` was sent, and the server still works on the transaction.
#[tokio::test]
#[ignore = "needs PostgreSQL; run it with --include-ignored"]
async fn a_commit_that_is_under_way_is_waited_for() {
    for (end, expected) in [("COMMIT", true), ("ROLLBACK", false)] {
        let (mut postgres, now) = started().await;
        let mut session = postgres.connector.write(None).await.unwrap();
        let start = Start { node: postgres.start.node, commits: 0 };
        assert!(session.begin(&start, now).await.unwrap());
        let other = &mut session.conn;
        let mut committed = Box::pin(postgres.committed());
        // The first answers of the server do not end the call, because the row is locked.
        for _ in 0..3 {
            query("SELECT 1").execute(&mut *other).await.unwrap();
            assert!(committed.as_mut().now_or_never().is_none());
        }
        sqlx::raw_sql(end).execute(&mut *other).await.unwrap();
        assert_eq!(committed.await.unwrap(), expected);
        Box::new(postgres).close().await;
    }
}

/// A transaction that a lost connection has left open would lock the row of this process.
#[tokio::test]
#[ignore = "needs PostgreSQL; run it with --include-ignored"]
async fn a_lost_connection_leaves_no_transaction() {
    let (mut postgres, now) = started().await;
    let mut session = postgres.session.take().unwrap();
    assert!(session.begin(&postgres.start, now).await.unwrap());
    // The connection stays open on this side, as if the network were interrupted.
    postgres.before = Some(session.process);
    let replies = postgres.apply(&[submit("r")], now).await.unwrap();
    assert!(matches!(replies[..], [Reply::Submit(Submitted::New)]));
    let closed = query("SELECT 1").execute(&mut session.conn).await;
    assert!(closed.is_err());
    Box::new(postgres).close().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL; run it with --include-ignored"]
async fn errors_of_the_server_are_explained() {
    let (postgres, _) = started().await;
    let mut conn = postgres.connector.connect().await.unwrap();
    for (code, permanent, advice) in [
        ("08P01", false, "pooler"),
        ("22021", true, ""),
        ("23505", true, ""),
        ("25006", false, "primary"),
        ("26000", false, "pool_mode"),
        ("28000", false, "sslmode"),
        ("28P01", false, "password"),
        ("40001", false, "same rows"),
        ("40P01", false, "order"),
        ("42501", false, "grant"),
        ("42P05", false, "pool_mode"),
        ("42P01", true, "backup"),
        ("53100", false, "disk"),
        ("53300", false, "max_connections"),
        ("54000", true, ""),
        ("55P03", false, "lock"),
        ("57014", false, "too long"),
        ("57P01", false, "administrator"),
        ("57P03", false, "starts or stops"),
        ("58030", false, "I/O"),
        ("XX001", false, "damaged"),
        ("P0001", false, ""),
    ] {
        let raise =
            format!("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{code}', MESSAGE = E'as the\\ntest says'; END $$");
        let error = sqlx::raw_sql(sqlx::AssertSqlSafe(raise)).execute(&mut conn).await.unwrap_err();
        assert_eq!(is_permanent(&error), permanent, "{code}");
        let text = explained(error).to_string();
        assert!(text.contains(advice) && (advice.is_empty() || text.contains(code)), "{code}: {text}");
        assert!(advice.is_empty() || !text.contains('\n'), "{text:?}");
    }
    Box::new(postgres).close().await;
}
