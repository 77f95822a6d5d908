//! Cases for each backend that keeps its rows after the end of the process: a store is closed while it has claims, as at
//! the end of its process, and another one is opened in the same place.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use tokio::sync::Semaphore;

use super::world::{ROUTE, World, attach, current, delivering, id, running, submit};
use crate::record::{Attempt, ClaimedRequest, DeliveryState, Next, Owner, Registration, Settled};
use crate::terms::Terms;
use crate::{Error, Load};
use postback_wire::report::{Ends, Outcome};
use postback_wire::webhook::{Provenance, Webhook};

pub(super) async fn what_waits_is_counted_anew_at_a_start(mut world: World) {
    world.options.max_queued = 2;
    let store = world.open().await;
    let of = |id: &str, bytes: usize| crate::NewRequest { body: vec![7; bytes].into(), ..world.request(id) };
    let mut headers = http::HeaderMap::new();
    headers.append("accept", "a".parse().unwrap());
    headers.append("accept", "b".parse().unwrap());
    submit(&store, crate::NewRequest { headers, ..of("runs", 1_000) }).await;
    attach(&store);
    let runs = store.claim_requests(1).await.unwrap().rows.remove(0);
    std::mem::forget(store.begin(&runs.claim));
    let settled = running(&world, &store, "settled").await;
    current(store.settle_request(settled.claim, world.done(), vec![]).await);
    submit(&store, of("waits", 10)).await;
    assert_eq!(store.backlog().count().rows, 1);
    store.close().await;
    let store = world.open().await;
    assert_eq!(store.backlog().count().rows, 2);
    assert!(matches!(store.submit(of("x", 0)).await, Err(Error::Refused(_))));
    // `recover(1)` allows one crash for each request. The request that ran in the earlier process has crashed once, so
    // it is lost.
    let lost = store.recover(1).await.unwrap().lost;
    assert_eq!(lost.len(), 1);
    assert_eq!(store.backlog().count().rows, 1);
    current(store.put_back_request(lost[0].claim.clone()).await);
    assert_eq!(store.backlog().count().rows, 2);
    attach(&store);
    let rows = store.claim_requests(9).await.unwrap().rows;
    assert_eq!(rows.len(), 2);
    assert_eq!(store.backlog().count(), crate::backlog::Count::default());
}

pub(super) async fn a_store_keeps_its_id_and_others_have_another(world: World) {
    let store = world.open().await;
    let own = store.id().unwrap().to_owned();
    store.close().await;
    let store = world.open().await;
    assert_eq!(store.id(), Some(&*own));
    store.close().await;
    #[cfg(feature = "sqlite")]
    {
        let other = World::sqlite().open().await;
        assert!(other.id().is_some_and(|id| id != own));
    }
    assert_eq!(World::memory().open().await.id(), None);
}

pub(super) async fn delays_and_deadlines_survive_a_restart(world: World) {
    let minute = Duration::from_mins(1);
    let store = world.open().await;
    let terms = Terms {
        run_at: Some(world.now().saturating_add(minute)),
        timeout: Some(minute),
        priority: 7,
        ..Terms::default()
    };
    let owner = Owner::from("a");
    submit(&store, crate::NewRequest { terms, owner: owner.clone(), ..world.request("later") }).await;
    let terms = Terms { deadline: Some(world.now().saturating_add(2 * minute)), ..Terms::default() };
    submit(&store, crate::NewRequest { terms, ..world.request("until") }).await;
    store.close().await;
    world.advance(minute / 2);
    let store = world.open().await;
    attach(&store);
    let expired = store.claim_expired(9).await.unwrap();
    assert_eq!((expired.rows.len(), expired.next_due.is_some()), (0, true));
    let batch = store.claim_requests(9).await.unwrap();
    assert_eq!(batch.rows.iter().map(|row| row.claim.id.as_str()).collect::<Vec<_>>(), ["until"]);
    let due = batch.next_due.unwrap();
    world.advance(due.since(world.now()));
    let row = store.claim_requests(9).await.unwrap().rows.remove(0);
    assert_eq!((row.terms.timeout, row.terms.priority, row.owner), (Some(minute), 7, owner));
}

pub(super) async fn what_can_never_be_written_leaves_nothing_behind(world: World) {
    let store = world.open().await;
    let (first, other) = (world.report("first"), world.report("other"));
    store.post_durably(vec![first.clone()]).await.unwrap();
    // The report `other` is new, but the report `first` has an id that is already in the store. So the store must write
    // neither of the two reports.
    assert!(store.post_durably(vec![other, first]).await.is_err());
    assert!(store.deliveries("other").await.unwrap().is_empty());
    store.post_durably(vec![world.report("next")]).await.unwrap();
    assert_eq!(store.counts().await.unwrap().undelivered, 2);
}

pub(super) async fn rescue_limit_fails_poison_request(world: World) {
    let webhook = Webhook::new("https://example.com/ended").unwrap().chosen_by(Some(Provenance::Operator));
    let registration = Registration { webhooks: vec![webhook], on: Ends::FAILED, tells_reason: true };
    let mut epochs = Vec::new();
    for run in 1..=3 {
        let store = world.open().await;
        let recovered = store.recover(3).await.unwrap();
        assert_eq!((recovered.requests, recovered.lost.len()), (usize::from(run > 1), 0));
        if run == 1 {
            submit(&store, world.request("poison")).await;
        }
        attach(&store);
        let claimed = store.claim_requests(1).await.unwrap().rows.remove(0);
        assert_eq!(claimed.crashes, run - 1);
        epochs.push(claimed.claim.epoch);
        // `forget` prevents the drop of the guard that `begin` returns. So for the store, the run has begun and never
        // ends.
        std::mem::forget(store.begin(&claimed.claim));
        current(store.register(claimed.claim, registration.clone()).await);
        // The store closes, as at the end of its process, while the request is claimed.
        store.close().await;
    }
    let store = world.open().await;
    let recovered = store.recover(3).await.unwrap();
    assert_eq!((recovered.requests, recovered.lost.len()), (0, 1));
    let lost = &recovered.lost[0];
    assert_eq!((lost.crashes, lost.registration.as_deref()), (3, Some(&registration)));
    epochs.push(lost.claim.epoch);
    assert_eq!(epochs, [1, 2, 3, 4]);
    attach(&store);
    assert!(store.claim_requests(1).await.unwrap().rows.is_empty());
    current(store.settle_request(lost.claim.clone(), world.done(), vec![]).await);
    assert_eq!(store.recover(3).await.unwrap().requests, 0);
}

pub(super) async fn rescued_report_has_unknown_attempt(world: World) {
    let store = world.open().await;
    let first = delivering(&store, world.report("x")).await;
    store.close().await;
    let store = world.open().await;
    assert_eq!(store.recover(3).await.unwrap().reports, 1);
    let record = store.deliveries("x").await.unwrap().remove(0);
    assert_eq!((record.state, record.attempts), (DeliveryState::Pending, 1));
    assert!(record.last.unwrap().error.unwrap().contains("unknown"));
    let second = store.claim_reports(1).await.unwrap().rows.remove(0);
    assert_eq!((second.claim.epoch, second.attempt), (2, 2));
    let late = store.settle_report(first.claim, world.attempt(200), Next::Delivered).await.unwrap();
    assert_eq!(late, Settled::Stale);
    current(store.settle_report(second.claim, world.attempt(200), Next::Delivered).await);
}

pub(super) async fn recovery_takes_up_all_however_many(world: World) {
    let store = world.open().await;
    attach(&store);
    let ids: Vec<String> = (0..1_200).map(|n| n.to_string()).collect();
    join_all(ids.iter().map(|id| store.submit(world.request(id)))).await;
    store.post_durably((0..1_200).map(|_| world.report("x")).collect()).await.unwrap();
    assert_eq!(store.claim_requests(1_200).await.unwrap().rows.len(), 1_200);
    assert_eq!(store.claim_reports(1_200).await.unwrap().rows.len(), 1_200);
    store.close().await;
    let store = world.open().await;
    let recovered = store.recover(3).await.unwrap();
    assert_eq!((recovered.requests, recovered.reports), (1_200, 1_200));
    // The second recovery finds no claims, because the first recovery has recovered the claims of all earlier nodes.
    let recovered = store.recover(3).await.unwrap();
    assert_eq!((recovered.requests, recovered.reports), (0, 0));
    assert_eq!(store.counts().await.unwrap().queued.get(ROUTE), Some(&1_200));
    assert_eq!(store.claim_reports(2_000).await.unwrap().rows.len(), 1_200);
}

pub(super) async fn suspects_are_run_one_by_one(world: World) {
    let store = world.open().await;
    attach(&store);
    for name in ["1", "2", "3"] {
        let row = running(&world, &store, name).await;
        std::mem::forget(store.begin(&row.claim));
    }
    store.close().await;
    let store = world.open().await;
    store.recover(3).await.unwrap();
    world.advance(Duration::from_secs(1));
    attach(&store);
    for name in ["4", "5"] {
        submit(&store, world.request(name)).await;
    }
    let ids = |rows: &[ClaimedRequest]| rows.iter().map(|row| row.claim.id.as_str().to_owned()).collect::<Vec<_>>();
    let first = store.claim_requests_beside(2, |_| Load::default(), true).await.unwrap();
    assert_eq!((ids(&first.rows), first.next_due), (vec!["1".to_owned(), "4".to_owned()], Some(world.now())));
    // A suspect is a request that ran when its process died. While one suspect runs, a claim returns no other suspect,
    // and `next_due` ignores the other suspects.
    let second = store.claim_requests_beside(5, |_| Load::default(), false).await.unwrap();
    assert_eq!((ids(&second.rows), second.next_due), (vec!["5".to_owned()], None));
    let third = store.claim_requests_beside(5, |_| Load::default(), true).await.unwrap();
    assert_eq!((ids(&third.rows), third.next_due), (vec!["2".to_owned()], None));
    let last = store.claim_requests_beside(5, |_| Load::default(), true).await.unwrap();
    assert_eq!(ids(&last.rows), ["3"]);
}

pub(super) async fn nothing_is_pre_claimed_before_what_an_earlier_process_left(world: World) {
    let store = world.open().await;
    running(&world, &store, "old").await;
    store.close().await;
    let store = world.open().await;
    store.recover(3).await.unwrap();
    let mut held = store.attach_requests(vec![ROUTE.into()], Arc::new(Semaphore::new(5)));
    submit(&store, world.request("new")).await;
    assert!(held.recv().now_or_never().is_none());
    let rows = store.claim_requests(5).await.unwrap().rows;
    assert_eq!(rows.iter().map(|row| row.claim.id.as_str()).collect::<Vec<_>>(), ["old", "new"]);
}

/// Text from a handler or a receiver may have any character. PostgreSQL has none for NUL.
pub(super) async fn a_text_with_nul_can_be_stored(world: World) {
    let store = world.open().await;
    let claimed = running(&world, &store, "r").await;
    let outcome = Outcome { detail: Some("a\0b".to_owned()), ..world.done() };
    current(store.settle_request(claimed.claim, outcome, vec![world.report("x\0y")]).await);
    let report = store.claim_reports(1).await.unwrap().rows.remove(0);
    let attempt = Attempt { error: Some("no\0".to_owned()), ..world.attempt(500) };
    current(store.settle_report(report.claim, attempt, Next::Dead).await);
    let last = store.deliveries("x\0y").await.unwrap().remove(0).last.unwrap();
    assert!(last.error.unwrap().starts_with("no"));
    let detail = store.request_detail(&id("r")).await.unwrap().unwrap().detail.unwrap();
    assert!(detail.starts_with('a') && detail.ends_with('b'), "{detail:?}");
}
