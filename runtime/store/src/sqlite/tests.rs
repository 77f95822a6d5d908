//! Tests of the SQLite backend alone, without the writer and the queues of the store.

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::Durability;
use crate::ops::{ClaimReports, Post, SettleReport, SettledReport, Submit};
use crate::record::{Attempt, ClaimedReport, NewReport, NewRequest, Next, Submitted};
use postback_wire::id::RequestId;

fn submit(id: &str) -> Op {
    let request = NewRequest::new(RequestId::stored(id), "/a", "", Timestamp::default());
    Submit { request: Box::new(request), room: None, is_handed_in: false, slot: None }.into()
}

fn started(dir: &Path) -> (Sqlite, Now) {
    let connector = Connector::new(&dir.join("store.db"), Durability::Full);
    let (sqlite, ..) = start(connector, NodeId::generate(), &Clock::system()).unwrap();
    (sqlite, Now { wall: Timestamp::default(), due: Timestamp::default() })
}

#[test]
fn a_claimed_report_is_found_whether_its_place_is_known_or_not() {
    let dir = tempfile::tempdir().unwrap();
    let (mut sqlite, now) = started(dir.path());
    let webhook = postback_wire::webhook::Target::parse("https://example.com/in");
    let reports = (0..3).map(|_| NewReport::to(webhook.clone(), "x", "{}".into(), now.wall)).collect();
    sqlite.apply(&[Post::new(reports).into()], now).unwrap();
    let replies = sqlite.apply(&[ClaimReports { limit: 3 }.into()], now).unwrap();
    let [Reply::ClaimReports(claimed)] = &replies[..] else { panic!("{replies:?}") };
    // After this line the row number of the report is unknown, as after a commit with an unknown outcome.
    sqlite.report_rows.over(&claimed.rows[1].claim.id);
    let attempt =
        Attempt { started: now.wall, took: Duration::ZERO, status: Some(204), error: None, response: "".into() };
    let settle = |row: &ClaimedReport| {
        Op::from(SettleReport { claim: row.claim.clone(), attempt: attempt.clone(), next: Next::Delivered })
    };
    let settles: Vec<Op> = claimed.rows.iter().map(settle).collect();
    for expected in [SettledReport::Current, SettledReport::Stale] {
        let replies = sqlite.apply(&settles, now).unwrap();
        let is_expected = |reply: &Reply| matches!(reply, Reply::SettleReport(settled) if *settled == expected);
        assert!(replies.iter().all(is_expected), "{replies:?}");
    }
    sqlite.close();
}

#[test]
pub(crate) fn the_outcome_of_a_commit_is_looked_up() {
    let dir = tempfile::tempdir().unwrap();
    let (mut sqlite, now) = started(dir.path());

    // The next commit fails, and nothing is written.
    sqlite.conn.as_ref().unwrap().commit_hook(Some(|| true)).unwrap();
    let first = submit("r");
    assert!(matches!(sqlite.apply(std::slice::from_ref(&first), now), Err(Failure::Unknown { .. })));
    assert!(!sqlite.committed().unwrap());
    let replies = sqlite.apply(std::slice::from_ref(&first), now).unwrap();
    assert!(matches!(replies[..], [Reply::Submit(Submitted::New)]));

    // The next commit succeeds. Then the test sets the backend's count of commits back by one, as if the backend had
    // received an error from the commit.
    let second = submit("s");
    sqlite.apply(std::slice::from_ref(&second), now).unwrap();
    sqlite.start.commits -= 1;
    assert!(sqlite.committed().unwrap());
    assert!(!sqlite.committed().unwrap());
    // The database file alone contains both rows, so the rows are not lost even if the WAL is lost.
    let copy = dir.path().join("copy.db");
    std::fs::copy(dir.path().join("store.db"), &copy).unwrap();
    let conn = Connector::new(&copy, Durability::Full).write().unwrap();
    let mut ids = conn.prepare("SELECT id FROM request").unwrap();
    let ids = ids.query_map([], |row| row.get(0)).unwrap().collect::<Result<Vec<String>, _>>();
    assert_eq!(ids.unwrap(), ["r", "s"]);
    let replies = sqlite.apply(std::slice::from_ref(&second), now).unwrap();
    assert!(matches!(replies[..], [Reply::Submit(Submitted::Known)]));
    sqlite.close();
}
