//! How routes share claims, and the counts of rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::world::{World, current, submit};
use crate::record::{ClaimedRequest, NewRequest};
use crate::{Cancelled, Load, Store};
use postback_wire::report::Outcome;

/// Submits `n` requests to this route.
async fn many(world: &World, store: &Store, route: &str, n: usize) {
    for n in 0..n {
        submit(store, NewRequest { route: route.into(), ..world.request(&format!("{route} {n}")) }).await;
    }
}

fn attach(store: &Store, routes: &[&str]) {
    drop(store.attach_requests(routes.iter().map(|route| (*route).to_owned()).collect(), Arc::new(Semaphore::new(0))));
}

fn by_route(rows: &[ClaimedRequest]) -> BTreeMap<&str, usize> {
    let mut routes = BTreeMap::new();
    for row in rows {
        *routes.entry(row.route.as_str()).or_default() += 1;
    }
    routes
}

pub(super) async fn a_request_passes_the_backlog_of_another_route(world: World) {
    let store = world.open().await;
    many(&world, &store, "/long", 200).await;
    many(&world, &store, "/short", 2).await;
    attach(&store, &["/long", "/short"]);
    let running = |route: &str| Load { running: if route == "/long" { 60 } else { 0 }, ..Load::default() };
    let rows = store.claim_requests_beside(1, running, true).await.unwrap().rows;
    assert_eq!(by_route(&rows), BTreeMap::from([("/short", 1)]));
    let rows = store.claim_requests_beside(4, running, true).await.unwrap().rows;
    assert_eq!(by_route(&rows), BTreeMap::from([("/long", 3), ("/short", 1)]));
}

pub(super) async fn routes_share_what_is_claimed(world: World) {
    let store = world.open().await;
    many(&world, &store, "/a", 20).await;
    many(&world, &store, "/b", 20).await;
    many(&world, &store, "/c", 1).await;
    attach(&store, &["/a", "/b", "/c", "/none"]);
    let batch = store.claim_requests(11).await.unwrap();
    assert_eq!(by_route(&batch.rows), BTreeMap::from([("/a", 5), ("/b", 5), ("/c", 1)]));
    assert_eq!(batch.next_due, Some(world.now()));
    // The requests of one route are claimed in the order in which they were submitted.
    let ids: Vec<_> = batch.rows.iter().filter(|row| row.route == "/b").map(|row| row.claim.id.as_str()).collect();
    assert_eq!(ids, ["/b 0", "/b 1", "/b 2", "/b 3", "/b 4"]);
    // A route's share of the slots is not a limit: if enough slots are free, a claim returns all waiting requests.
    let batch = store.claim_requests(100).await.unwrap();
    assert_eq!((batch.rows.len(), batch.next_due), (30, None));
}

pub(super) async fn a_claim_of_several_routes_is_bounded_by_bytes(world: World) {
    let store = world.open().await;
    for n in 0..6 {
        for route in ["/a", "/b"] {
            let body = vec![7; 3 << 20].into();
            submit(&store, NewRequest { route: route.into(), body, ..world.request(&format!("{route} {n}")) }).await;
        }
    }
    attach(&store, &["/a", "/b"]);
    let mut claims = Vec::new();
    loop {
        let batch = store.claim_requests(10).await.unwrap();
        claims.push(batch.rows.len());
        if batch.next_due.is_none() {
            break;
        }
        assert_eq!(batch.next_due, Some(world.now()));
    }
    assert_eq!(claims, [2; 6]);
}

/// Checks the counts of the store after each kind of change. The store changes its counts when rows change, and never
/// counts all rows again, so a wrong count would stay wrong.
pub(super) async fn counts_are_true_after_everything(world: World) {
    let store = world.open().await;
    attach(&store, &["/a", "/b"]);
    let counted = async || {
        let counts = store.counts().await.unwrap();
        (counts.queued.get("/a").copied(), counts.queued.get("/b").copied(), counts.running, counts.undelivered)
    };
    many(&world, &store, "/a", 3).await;
    many(&world, &store, "/b", 2).await;
    // This submission writes nothing, because a request with the same id exists on the route `/a`.
    assert!(store.submit(NewRequest { route: "/b".into(), ..world.request("/a 0") }).await.is_ok());
    assert_eq!(counted().await, (Some(3), Some(2), 0, 0));
    let mut rows = store.claim_requests(5).await.unwrap().rows;
    assert_eq!(counted().await, (None, None, 5, 0));
    current(store.put_back_request(rows.remove(0).claim).await);
    current(store.retry_request(rows.remove(0).claim, world.now(), None).await);
    current(store.settle_request(rows.remove(0).claim, world.done(), vec![world.report("r"), world.report("r")]).await);
    let (queued, running) = (store.counts().await.unwrap().queued.values().sum::<u64>(), rows.len() as u64);
    assert_eq!((queued, running, counted().await.3), (2, 2, 2));
    let waiting = store.claim_requests(1).await.unwrap().rows.remove(0);
    current(store.put_back_request(waiting.claim.clone()).await);
    let end = |_, _| (Outcome::cancelled(world.now()), vec![]);
    let cancelled = store.cancel(&waiting.claim.id, &waiting.route, None, end).await.unwrap();
    assert!(matches!(cancelled, Cancelled::AtOnce(_)));
    assert_eq!(store.counts().await.unwrap().queued.values().sum::<u64>(), 1);

    let reports = store.claim_reports(5).await.unwrap().rows;
    current(store.park_report(reports[0].claim.clone()).await);
    current(store.put_back_report(reports[1].claim.clone()).await);
    assert_eq!(counted().await.3, 2);
    let parked = store.claim_parked(reports[0].to.origin(), 5).await.unwrap().rows.remove(0);
    current(store.settle_report(parked.claim, world.attempt(200), crate::Next::Delivered).await);
    assert_eq!(counted().await.3, 1);
    store.post_durably(vec![crate::NewReport { refused: Some("no".into()), ..world.report("x") }]).await.unwrap();
    assert_eq!(counted().await.3, 1);
    world.advance(std::time::Duration::from_secs(1));
    assert!(store.purge(world.now(), 100).await.unwrap() > 0);
    assert_eq!(counted().await.3, 1);
    store.close().await;
    if world.options.place != World::memory().options.place {
        let store = world.open().await;
        assert_eq!(store.counts().await.unwrap().undelivered, 1);
    }
}
