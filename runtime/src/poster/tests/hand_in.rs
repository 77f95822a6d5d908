//! Tests of reports that a transaction of the program hands in.

use std::path::Path;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::*;

/// Opens a connection of the program, and its table.
fn database(file: &Path) -> Connection {
    let database = Connection::open(file).unwrap();
    database.execute_batch("CREATE TABLE IF NOT EXISTS orders (name TEXT)").unwrap();
    database
}

/// Writes an order and hands in its report. The transaction is open then.
fn order<'d>(database: &'d mut Connection, name: &str, hand_in: &HandIn) -> Transaction<'d> {
    let tx = database.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
    tx.execute("INSERT INTO orders (name) VALUES (?1)", [name]).unwrap();
    let row = hand_in.row().unwrap();
    tx.execute(row.sql, (row.id, row.content)).unwrap();
    tx
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_is_posted_when_its_transaction_is_committed_and_only_then() {
    let (receiver, folder) = (Receiver::answering(OK), tempfile::tempdir().unwrap());
    let file = folder.path().join("shop.db");
    let (poster, guard) = Poster::builder().trust(receiver.url()).sqlite(&file).start().unwrap();
    let mut database = database(&file);
    let prepare = |id| poster.prepare(&receiver.url(), &report(id)).unwrap();

    let undone = prepare("undone");
    order(&mut database, "undone", &undone).rollback().unwrap();
    undone.committed();
    let kept = prepare("kept");
    order(&mut database, "kept", &kept).commit().unwrap();
    kept.committed();
    let requests = receiver.received(1).await;
    let body = String::from_utf8(requests[0].body.clone()).unwrap();
    assert!(body.starts_with(r#"{"id":"kept","status":"completed","result":"done","timestamp":""#), "{body}");
    assert_eq!(requests[0].header("webhook-id"), Some(kept.id()));
    // Without a signal, the store looks by itself.
    order(&mut database, "quiet", &prepare("quiet")).commit().unwrap();
    receiver.received(2).await;
    let flushed = guard.shutdown(LONG).await;
    assert_eq!((flushed.delivered, flushed.lost), (2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_transaction_of_the_program_writes_the_store_waits() {
    let (receiver, folder) = (Receiver::answering(OK), tempfile::tempdir().unwrap());
    let file = folder.path().join("shop.db");
    let (poster, guard) = Poster::builder().trust(receiver.url()).sqlite(&file).start().unwrap();
    let mut database = database(&file);
    let hand_in = poster.prepare(&receiver.url(), &report("handed in")).unwrap();
    let tx = order(&mut database, "handed in", &hand_in);
    let (url, another) = (receiver.url(), report("posted"));
    let mut posting = std::pin::pin!(poster.post_durably(&url, &another));
    // The writer of the store finds the file locked.
    tokio::time::timeout(Duration::from_millis(200), posting.as_mut()).await.unwrap_err();
    tx.commit().unwrap();
    posting.await.unwrap();
    hand_in.committed();
    receiver.received(2).await;
    guard.shutdown(LONG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_handed_in_is_an_error_before_the_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let (poster, guard) = Poster::builder().start().unwrap();
    let error = poster.prepare("https://example.com/", &report("a")).unwrap_err();
    assert!(error.is_in_memory(), "{error}");
    guard.shutdown(LONG).await;

    let (poster, guard) = Poster::builder().sqlite(folder.path().join("shop.db")).start().unwrap();
    let error = poster.prepare("htp://example.com/", &report("a")).unwrap_err();
    assert!(!error.is_in_memory() && error.to_string().contains("the webhook cannot be used"), "{error}");
    #[cfg(feature = "server")]
    {
        let error = poster.prepare_request("/a", "payload").await.unwrap_err();
        assert!(error.to_string().contains("belongs to no server"), "{error}");
    }
    guard.shutdown(LONG).await;

    // While reporting is turned off, there is nothing to hand in.
    let (poster, _guard) = Poster::builder().discard().start().unwrap();
    let hand_in = poster.prepare("https://example.com/", &report("a")).unwrap();
    assert!(hand_in.row().is_none());
    hand_in.committed();
    poster.prepare("htp://example.com/", &report("a")).unwrap_err();
}
