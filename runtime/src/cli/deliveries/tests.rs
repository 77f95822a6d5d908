//! Tests of `deliveries replay` while no server runs.

use std::path::Path;

use bytes::Bytes;

use super::*;
use crate::cli::offline_store::tests::{answered_gone, options, remote};
use postback_store::{NewReport, NewRequest, Next, Settled};
use postback_wire::id::NodeId;
use postback_wire::time::Clock;
use postback_wire::webhook::Webhook;

async fn run(path: &Path, id: &str) -> Result<String, String> {
    let (ids, filter) = (vec![id.to_owned()], Filter::default());
    Deliveries::Replay { ids, all: false, filter, json: false, remote: remote() }.run(options(path), None).await
}

#[tokio::test]
async fn what_is_over_is_sent_again_and_nothing_else_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.db");
    let unknown = ReportId::generate().to_string();
    assert!(run(&path, &unknown).await.unwrap_err().contains("there is no database"));

    let clock = Clock::system();
    let store = Store::open(options(&path), NodeId::generate(), clock.clone()).await.unwrap();
    let webhook = Webhook::new("https://a.example/in?token=s3cret").unwrap();
    let report = NewReport::to(webhook, "job-7", Bytes::from("{}"), clock.now());
    let id = report.id.to_string();
    store.post_durably(vec![report]).await.unwrap();
    store.close().await;
    drop(store);
    assert!(run(&path, &unknown).await.unwrap_err().contains("there is no delivery"));
    assert!(run(&path, &id).await.unwrap_err().contains("is not over"));
    assert!(run(&path, "7").await.unwrap_err().contains("`7` is not the id of a delivery"));

    let store = Store::open(options(&path), NodeId::generate(), clock.clone()).await.unwrap();
    assert!(run(&path, &id).await.unwrap_err().contains("in use"));
    let row = store.claim_reports(1).await.unwrap().rows.remove(0);
    let gone = Next::Gone { disable: true };
    assert_eq!(store.settle_report(row.claim, answered_gone(&clock), gone).await.unwrap(), Settled::Current);
    store.close().await;
    drop(store);
    let printed = run(&path, &id).await.unwrap();
    let store = Store::open(options(&path), NodeId::generate(), clock.clone()).await.unwrap();
    let [audited] = &store.audited(None, 10).await.unwrap()[..] else { panic!("one change") };
    assert_eq!((&*audited.entry.who, &*audited.entry.what), ("command line", "delivery.replay"));
    assert_eq!(audited.entry.subject, id);
    store.close().await;
    drop(store);
    let begin = format!("{id} will be sent to https://a.example/in?… again once it is enabled");
    assert!(printed.starts_with(&begin));

    let store = Store::open(options(&path), NodeId::generate(), clock.clone()).await.unwrap();
    store.enable("https://a.example/in?token=s3cret").await.unwrap();
    let row = store.claim_reports(1).await.unwrap().rows.remove(0);
    let dead = store.settle_report(row.claim, answered_gone(&clock), Next::Dead).await.unwrap();
    assert_eq!(dead, Settled::Current);
    store.close().await;
    drop(store);
    let printed = run(&path, &id).await.unwrap();
    let copy = printed.trim_end().rsplit(' ').next().unwrap();
    assert_eq!(
        printed,
        format!("{id} will be sent to https://a.example/in?… again at the next start, as delivery {copy}\n")
    );
    assert_ne!(copy, id);
    let printed = run(&path, &id).await.unwrap_err();
    assert_eq!(
        printed,
        format!("{id} will already be sent again, as delivery {copy}, which is not over: nothing was added")
    );
    let printed = run(&path, "job-7").await.unwrap_err();
    assert!(
        printed.starts_with("`job-7` is what reports are about, and not the id of a delivery; its deliveries are:\n")
    );
    for line in [
        format!("\n  {id}  gone to https://a.example/in?…\n"),
        format!("\n  {copy}  waiting to https://a.example/in?…, a replay of {id}"),
    ] {
        assert!(printed.contains(&line), "{printed}");
    }
    assert_eq!(printed.lines().count(), 4, "{printed}");
}

#[tokio::test]
async fn the_id_of_a_request_is_told_from_that_of_a_delivery() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.db");
    let clock = Clock::system();
    let store = Store::open(options(&path), NodeId::generate(), clock.clone()).await.unwrap();
    // Requests and deliveries both have UUIDs as ids. So the command could mistake this id of a request for the id
    // of a delivery.
    let id = RequestId::generate();
    let request = NewRequest::new(id.clone(), "/greet", "{}", clock.now());
    let _ = store.submit(request).await.unwrap();
    store.close().await;
    drop(store);
    let printed = run(&path, id.as_str()).await.unwrap_err();
    assert_eq!(
        printed,
        format!("`{id}` is the id of a request that has no deliveries: it has no webhook, or is not over")
    );

    let store = Store::open(options(&path), NodeId::generate(), clock.clone()).await.unwrap();
    let report = NewReport::to(Webhook::new("https://a.example/in").unwrap(), id.as_str(), "{}".into(), clock.now());
    let delivery = report.id;
    store.post_durably(vec![report]).await.unwrap();
    store.close().await;
    drop(store);
    let printed = run(&path, id.as_str()).await.unwrap_err();
    let expected =
        format!("`{id}` is the id of a request; its deliveries are:\n  {delivery}  waiting to https://a.example/in");
    assert_eq!(printed, expected);
}
