//! Retention, counts, recovery.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::Semaphore;

use super::world::{ROUTE, World, attach, current, delivering, id, running, submit};
use crate::record::{NewReport, NewRequest, Next};
use crate::retention::{self, Retention};
use crate::shutdown::Shutdown;

pub(super) async fn retention_keeps_unfinished(world: World) {
    let store = world.open().await;
    let settled = running(&world, &store, "settled").await;
    current(store.settle_request(settled.claim, world.done(), vec![world.report("settled")]).await);
    running(&world, &store, "running").await;
    submit(&store, world.request("queued")).await;
    let delivered = store.claim_reports(1).await.unwrap().rows.remove(0);
    current(store.settle_report(delivered.claim, world.attempt(200), Next::Delivered).await);
    delivering(&store, world.report("delivering")).await;
    store.post_durably(vec![world.report("pending")]).await.unwrap();

    assert_eq!(store.purge(world.now(), 100).await.unwrap(), 0, "what ended at that moment did not end before it");
    world.advance(Duration::from_secs(1));
    assert_eq!(store.purge(world.now(), 100).await.unwrap(), 2);
    assert_eq!(store.purge(world.now(), 100).await.unwrap(), 0);
    assert!(store.request(&id("settled")).await.unwrap().is_none());
    assert!(store.deliveries("settled").await.unwrap().is_empty());
    for kept in ["running", "queued"] {
        assert!(store.request(&id(kept)).await.unwrap().is_some());
    }
    for kept in ["delivering", "pending"] {
        assert_eq!(store.deliveries(kept).await.unwrap().len(), 1);
    }
}

pub(super) async fn retention_respects_limit(world: World) {
    let store = world.open().await;
    for n in 0..5 {
        let claimed = running(&world, &store, &n.to_string()).await;
        current(store.settle_request(claimed.claim, world.done(), vec![]).await);
        let claimed = delivering(&store, world.report("x")).await;
        current(store.settle_report(claimed.claim, world.attempt(200), Next::Delivered).await);
    }
    world.advance(Duration::from_secs(1));
    assert_eq!(store.purge(world.now(), 3).await.unwrap(), 3);
    assert_eq!(store.purge(world.now(), 3).await.unwrap(), 3);
    assert_eq!(store.purge(world.now(), 100).await.unwrap(), 4);
}

pub(super) async fn retention_respects_bytes(world: World) {
    let store = world.open().await;
    attach(&store);
    for n in 0..6 {
        let body = if n == 3 { 20 << 20 } else { 3 << 20 };
        submit(&store, NewRequest { body: vec![7; body].into(), ..world.request(&n.to_string()) }).await;
        let claimed = store.claim_requests(1).await.unwrap().rows.remove(0);
        current(store.settle_request(claimed.claim, world.done(), vec![]).await);
    }
    world.advance(Duration::from_secs(2));
    let mut batches = Vec::new();
    loop {
        let purged = store.purge_ended(&Duration::from_secs(1).into(), 500).await.unwrap();
        batches.push(purged.deleted);
        if !purged.more {
            break;
        }
    }
    let expected: &[usize] = if store.is_durable() { &[2, 1, 1, 2] } else { &[6] };
    assert_eq!(batches, expected);
}

pub(super) async fn a_route_keeps_its_requests_for_its_own_time(world: World) {
    let store = world.open().await;
    let routes = ["/short", ROUTE, "/long"];
    drop(store.attach_requests(routes.map(str::to_owned).to_vec(), Arc::new(Semaphore::new(0))));
    for route in routes {
        submit(&store, NewRequest { route: route.into(), ..world.request(route) }).await;
        let claimed = store.claim_requests(1).await.unwrap().rows.remove(0);
        current(
            store.settle_request(claimed.claim, world.done(), vec![world.report(route), world.report(route)]).await,
        );
        let report = store.claim_reports(2).await.unwrap().rows.remove(0);
        current(store.settle_report(report.claim, world.attempt(200), Next::Delivered).await);
    }
    let hours = |n| Duration::from_hours(n);
    let of_routes = vec![("/short".to_owned(), hours(1)), ("/long".to_owned(), hours(9))];
    let retention = Retention { of_all: hours(5), of_routes };
    let kept = async || {
        let mut kept = Vec::new();
        for route in routes {
            let deliveries = store.deliveries(route).await.unwrap().len();
            kept.push((store.request(&id(route)).await.unwrap().is_some(), deliveries));
        }
        kept
    };
    // One report of each request is not over, and stays.
    for (hour, expected) in [
        (0, [(true, 2), (true, 2), (true, 2)]),
        (2, [(false, 1), (true, 2), (true, 2)]),
        (6, [(false, 1), (false, 1), (true, 1)]),
        (10, [(false, 1), (false, 1), (false, 1)]),
    ] {
        let now = world.now();
        let purged = store.purge_ended(&retention, 100).await.unwrap();
        assert!(!purged.more, "{purged:?}");
        assert_eq!(kept().await, expected, "after {hour} h, at {now}");
        world.advance(hours(if hour == 0 { 2 } else { 4 }));
    }
}

pub(super) async fn retention_batches_do_not_block_claims(world: World) {
    let (store, faults) = world.open_faulty().await;
    let refused = || NewReport { refused: Some("no".into()), ..world.report("old") };
    store.post_durably((0..1_200).map(|_| refused()).collect()).await.unwrap();
    store.post_durably(vec![world.report("new")]).await.unwrap();
    world.advance(Duration::from_secs(1));
    let before = faults.sizes().len();
    faults.hold();
    let shutdown = Shutdown::new();
    let mut retention =
        Box::pin(retention::run(store.clone(), || (Duration::ZERO.into(), Duration::ZERO), shutdown.clone()));
    assert!(retention.as_mut().now_or_never().is_none());
    faults.held().await;
    let mut claim = Box::pin(store.claim_reports(9));
    assert!(claim.as_mut().now_or_never().is_none());
    faults.release();
    // The store was writing one batch of deletions when `claim_reports` was called. The claim must not wait for a
    // second batch of deletions.
    assert_eq!(claim.await.unwrap().rows.len(), 1);
    assert_eq!(faults.sizes()[before..], [1, 1]);
    assert_eq!(store.deliveries("old").await.unwrap().len(), 100);
    let gone = async {
        while !store.deliveries("old").await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        shutdown.stop();
    };
    tokio::join!(retention, gone);
}

pub(super) async fn queue_counts_match_rows(world: World) {
    let store = world.open().await;
    attach(&store);
    for n in 0..7 {
        let route = if n < 4 { ROUTE } else { "/b" };
        submit(&store, NewRequest { route: route.into(), ..world.request(&n.to_string()) }).await;
    }
    let claimed = store.claim_requests(2).await.unwrap().rows;
    store.post_durably((0..3).map(|_| world.report("x")).collect()).await.unwrap();
    let report = store.claim_reports(1).await.unwrap().rows.remove(0);
    let counts = store.counts().await.unwrap();
    assert_eq!((counts.queued.get(ROUTE), counts.queued.get("/b")), (Some(&2), Some(&3)));
    assert_eq!((counts.running, counts.undelivered), (2, 3));
    for row in claimed {
        current(store.settle_request(row.claim, world.done(), vec![]).await);
    }
    current(store.settle_report(report.claim, world.attempt(410), Next::Dead).await);
    let counts = store.counts().await.unwrap();
    assert_eq!((counts.running, counts.undelivered), (0, 2));
}

pub(super) async fn own_claims_are_not_recovered(world: World) {
    let store = world.open().await;
    let request = running(&world, &store, "r").await;
    let report = delivering(&store, world.report("x")).await;
    let recovered = store.recover(1).await.unwrap();
    assert_eq!((recovered.requests, recovered.reports, recovered.lost.len()), (0, 0, 0));
    current(store.settle_request(request.claim, world.done(), vec![]).await);
    current(store.settle_report(report.claim, world.attempt(200), Next::Delivered).await);
}
