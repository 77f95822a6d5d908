//! Reports and their attempts.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::world::{World, current, delivering, running};
use crate::record::{ClaimedReport, DeliveryState, NewReport, Next, Settled};
use postback_wire::webhook::{Provenance, Target, Webhook};

pub(super) async fn report_bytes_and_id_equal_on_every_attempt(world: World) {
    let store = world.open().await;
    let webhook = Webhook::new("https://example.com").unwrap().header("x-key", "ü").unwrap();
    let secret = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
    let webhook = webhook.secret(secret.parse().unwrap()).chosen_by(Some(Provenance::Operator));
    let mut report = world.report("x");
    report.to = webhook.into();
    report.body = Bytes::from_static(b"\x00\xff exactly");
    let expected = report.clone();
    let mut claimed = delivering(&store, report).await;
    for n in 1..4 {
        assert_eq!((claimed.claim.id, claimed.attempt), (expected.id, n));
        assert_eq!((&claimed.body, &claimed.subject), (&expected.body, &expected.subject));
        assert!(claimed.to.webhook() == expected.to.webhook());
        assert_eq!(claimed.created, expected.created);
        current(store.settle_report(claimed.claim, world.attempt(500), Next::RetryAt(world.now())).await);
        claimed = store.claim_reports(1).await.unwrap().rows.remove(0);
    }
}

/// The store saves with each report whether the operator or a caller chose its webhook. Claims and a restart must not
/// change the saved value.
pub(super) async fn who_chose_a_webhook_stays_with_its_report(world: World) {
    let store = world.open().await;
    let by = [Provenance::Operator, Provenance::Caller];
    let report = |by| {
        let webhook = Webhook::new("https://example.com").unwrap().chosen_by(Some(by));
        NewReport::to(webhook, "x", Bytes::from_static(b"{}"), world.now())
    };
    let chosen = |rows: Vec<ClaimedReport>| -> Vec<bool> {
        rows.iter().map(|row| row.to.webhook().unwrap().is_operator()).collect()
    };
    store.post_durably(by.map(report).into()).await.unwrap();
    let rows = store.claim_reports(5).await.unwrap().rows;
    let claims: Vec<_> = rows.iter().map(|row| row.claim.clone()).collect();
    assert_eq!(chosen(rows), [true, false]);
    for claim in claims {
        current(store.settle_report(claim, world.attempt(500), Next::RetryAt(world.now())).await);
    }
    assert_eq!(chosen(store.claim_reports(5).await.unwrap().rows), [true, false]);
    if !store.is_durable() {
        return;
    }
    store.close().await;
    drop(store);
    let store = world.open().await;
    store.recover(3).await.unwrap();
    assert_eq!(chosen(store.claim_reports(5).await.unwrap().rows), [true, false]);
}

pub(super) async fn attempts_numbered_without_gaps(world: World) {
    let store = world.open().await;
    let mut claimed = delivering(&store, world.report("x")).await;
    for n in 1..6 {
        // The test puts the report back and claims it again. The new claim has a new epoch, but the number of the
        // attempt stays the same.
        current(store.put_back_report(claimed.claim).await);
        claimed = store.claim_reports(1).await.unwrap().rows.remove(0);
        assert_eq!((claimed.attempt, claimed.claim.epoch), (n, 2 * n));
        current(store.settle_report(claimed.claim, world.attempt(500), Next::RetryAt(world.now())).await);
        assert_eq!(store.deliveries("x").await.unwrap()[0].attempts, n);
        claimed = store.claim_reports(1).await.unwrap().rows.remove(0);
    }
}

pub(super) async fn deliveries_show_their_state(world: World) {
    let store = world.open().await;
    let one = || async { store.deliveries("x").await.unwrap().remove(0) };
    let mut report = world.report("x");
    report.to = Target::parse("https://example.com/1");
    store.post_durably(vec![report]).await.unwrap();
    let record = one().await;
    assert_eq!((record.state, record.attempts, record.next_due), (DeliveryState::Pending, 0, Some(world.now())));
    assert_eq!((record.last, record.url.as_str()), (None, "https://example.com/1"));
    let claimed = store.claim_reports(1).await.unwrap().rows.remove(0);
    let record = one().await;
    assert_eq!((record.state, record.attempts, record.next_due), (DeliveryState::Delivering, 1, None));
    let due = world.now().saturating_add(Duration::from_secs(5));
    let mut attempt = world.attempt(503);
    attempt.error = Some("503 from the server".into());
    attempt.response = Bytes::from_static(b"\xffbusy");
    current(store.settle_report(claimed.claim, attempt.clone(), Next::RetryAt(due)).await);
    let record = one().await;
    assert_eq!((record.state, record.attempts, record.next_due), (DeliveryState::Pending, 1, Some(due)));
    assert_eq!(record.last, Some(attempt));
    world.advance(Duration::from_secs(5));
    for (next, state) in [
        (Next::Delivered, DeliveryState::Delivered),
        (Next::Dead, DeliveryState::Dead),
        (Next::Refused, DeliveryState::Refused),
    ] {
        store.post_durably(vec![world.report(&format!("{state:?}"))]).await.unwrap();
        // Two reports are due: the new report, and an older report that was posted first. The claim returns the older
        // report.
        let claimed = store.claim_reports(1).await.unwrap().rows.remove(0);
        let subject = claimed.subject.clone();
        current(store.settle_report(claimed.claim, world.attempt(200), next).await);
        let record = store.deliveries(&subject).await.unwrap().remove(0);
        assert_eq!((record.state, record.next_due), (state, None));
        assert_eq!(record.last, Some(world.attempt(200)));
    }
}

pub(super) async fn refused_report_is_never_claimed(world: World) {
    let store = world.open().await;
    let mut held = store.attach_reports(Arc::new(Semaphore::new(5)));
    let refused = NewReport { refused: Some("no such scheme".into()), ..world.report("x") };
    store.post_durably(vec![refused, world.report("x")]).await.unwrap();
    assert_eq!(held.recv().await.unwrap().row.attempt, 1);
    assert!(store.claim_reports(10).await.unwrap().rows.is_empty());
    let records = store.deliveries("x").await.unwrap();
    assert_eq!((records[0].state, records[0].attempts), (DeliveryState::Refused, 0));
    assert_eq!((records[0].refused.as_deref(), &records[0].last), (Some("no such scheme"), &None));
    assert_eq!(store.counts().await.unwrap().undelivered, 1);
}

pub(super) async fn settle_report_twice_is_stale(world: World) {
    let store = world.open().await;
    let claimed = delivering(&store, world.report("x")).await;
    current(store.settle_report(claimed.claim.clone(), world.attempt(200), Next::Delivered).await);
    let again = store.settle_report(claimed.claim.clone(), world.attempt(500), Next::RetryAt(world.now())).await;
    assert_eq!(again.unwrap(), Settled::Stale);
    assert_eq!(store.put_back_report(claimed.claim).await.unwrap(), Settled::Stale);
    let record = store.deliveries("x").await.unwrap().remove(0);
    assert_eq!((record.state, record.attempts), (DeliveryState::Delivered, 1));
    assert_eq!(record.last, Some(world.attempt(200)));
}

pub(super) async fn reports_of_a_settlement_are_handed_over(world: World) {
    let store = world.open().await;
    let mut held = store.attach_reports(Arc::new(Semaphore::new(5)));
    let claimed = running(&world, &store, "r").await;
    let stale = super::world::stale(&claimed.claim);
    assert_eq!(store.settle_request(stale, world.done(), vec![world.report("r")]).await.unwrap(), Settled::Stale);
    let report = world.report("r");
    current(store.settle_request(claimed.claim, world.done(), vec![report.clone()]).await);
    // The receiver of pre-claimed reports gets only the report of the settlement with the current claim, and no report
    // of the settlement with the stale claim.
    assert_eq!(held.recv().await.unwrap().row.claim.id, report.id);
    assert_eq!(store.deliveries("r").await.unwrap().len(), 1);
}

pub(super) async fn deliveries_are_bounded_and_oldest_first(world: World) {
    let store = world.open().await;
    let reports: Vec<NewReport> = (0..130).map(|_| world.report("x")).collect();
    let expected: Vec<_> = reports.iter().take(100).map(|report| report.id).collect();
    store.post_durably(reports).await.unwrap();
    store.post_durably(vec![world.report("y")]).await.unwrap();
    let ids: Vec<_> = store.deliveries("x").await.unwrap().into_iter().map(|record| record.id).collect();
    assert_eq!(ids, expected);
}
