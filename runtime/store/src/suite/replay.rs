//! Replays: deliveries that are sent again.

use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;

use super::world::{World, current, delivering};
use crate::Replayed;
use crate::record::{DeliveryState, NewReport, Next};
use postback_wire::id::ReportId;
use postback_wire::webhook::{Provenance, Webhook};

pub(super) async fn replay_makes_new_row_same_webhook_id(world: World) {
    let store = world.open().await;
    assert_eq!(store.replay(ReportId::generate()).await.unwrap(), Replayed::Unknown);
    let body = Bytes::from_static(b"{\"exactly\":\"this\"}");
    let webhook = Webhook::new("https://example.com/in?token=1").unwrap().header("x-own", "kept").unwrap();
    let webhook = webhook.chosen_by(Some(Provenance::Operator));
    let report = NewReport::to(webhook, "x", body.clone(), world.now());
    let first = delivering(&store, report).await;
    assert_eq!((first.webhook_id, store.replay(first.claim.id).await.unwrap()), (first.claim.id, Replayed::NotOver));
    current(store.settle_report(first.claim.clone(), world.attempt(500), Next::RetryAt(world.now())).await);
    assert_eq!(store.replay(first.claim.id).await.unwrap(), Replayed::NotOver);
    let second = store.claim_reports(1).await.unwrap().rows.remove(0);
    current(store.settle_report(second.claim, world.attempt(500), Next::Dead).await);

    world.advance(Duration::from_secs(1));
    let before = store.deliveries("x").await.unwrap().remove(0);
    store.reports_due().now_or_never();
    let replayed = store.replay(first.claim.id).await.unwrap();
    if !store.is_durable() {
        assert_eq!(replayed, Replayed::NoBody);
        return;
    }
    let Replayed::As { delivery, url } = replayed else { panic!("{replayed:?}") };
    assert_eq!(url, "https://example.com/in?token=1");
    assert_eq!(store.replay(first.claim.id).await.unwrap(), Replayed::Waiting { delivery }, "one at a time");
    assert_eq!(store.deliveries("x").await.unwrap().len(), 2);
    store.reports_due().await;
    let again = store.claim_reports(5).await.unwrap().rows.remove(0);
    assert_eq!((again.claim.id, again.webhook_id), (delivery, first.claim.id));
    assert_ne!(delivery, first.claim.id);
    assert_eq!((again.claim.epoch, again.attempt, again.created), (1, 1, world.now()));
    assert_eq!((&again.body, &*again.subject, again.to.origin()), (&body, "x", "https://example.com"));
    assert_eq!(again.to.webhook(), first.to.webhook());
    current(store.settle_report(again.claim, world.attempt(204), Next::Delivered).await);

    let records = store.deliveries("x").await.unwrap();
    assert_eq!(records.len(), 2);
    assert_eq!((records[0].state, records[0].attempts), (DeliveryState::Dead, 2));
    assert_eq!(records[0].last, before.last);
    assert_eq!((records[1].id, records[1].webhook_id), (delivery, first.claim.id));
    assert_eq!((records[1].state, records[1].attempts), (DeliveryState::Delivered, 1));

    // A delivery that was made by a replay can be replayed again. The receiver gets the `webhook-id` of the original
    // report each time.
    assert!(matches!(store.replay(delivery).await.unwrap(), Replayed::As { .. }));
    let third = store.claim_reports(5).await.unwrap().rows.remove(0);
    assert_eq!((third.webhook_id, &third.body), (first.claim.id, &body));
    for earlier in [first.claim.id, delivery] {
        let delivery = third.claim.id;
        assert_eq!(store.replay(earlier).await.unwrap(), Replayed::Waiting { delivery }, "while it is being sent");
    }
    store.post_durably(vec![world.report("y")]).await.unwrap();
    assert_eq!(store.claim_reports(5).await.unwrap().rows.len(), 1, "the next report has a place of its own");
}
