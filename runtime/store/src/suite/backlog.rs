//! Waiting requests are counted, and their number and bytes are bounded.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use tokio::sync::Semaphore;

use super::faults::Fault;
use super::world::{ROUTE, World, attach, current, id, submit};
use crate::backlog::Count;
use crate::error::Bound;
use crate::overview::RequestStatus;
use crate::record::{NewRequest, Submitted};
use crate::{Cancelled, Change, Error, Heard, OwnerLimits, Store};
use postback_wire::report::Outcome;

fn sized(world: &World, name: &str, bytes: usize) -> NewRequest {
    NewRequest { body: vec![7; bytes].into(), ..world.request(name) }
}

async fn refused(store: &Store, request: NewRequest) -> Bound {
    match store.submit(request).await {
        Err(Error::Refused(bound)) => bound,
        other => panic!("{other:?}"),
    }
}

/// Asserts that the store counts this number of waiting requests and of bytes, and that the backend counts the same
/// number of requests.
async fn agrees(store: &Store, rows: u64, bytes: u64) {
    assert_eq!(store.backlog().count(), Count { rows, bytes });
    assert_eq!(store.counts().await.unwrap().queued.values().sum::<u64>(), rows);
}

pub(super) async fn an_owner_has_no_more_waiting_requests_than_it_may(world: World) {
    let store = world.open().await;
    attach(&store);
    let owned = |owner: &str, name: &str| NewRequest { owner: owner.into(), ..world.request(name) };
    let rows = OwnerLimits { rows: Some(2), bytes: None };
    let submitted = async |request: NewRequest, limits| match store.submit_within(request, limits).await {
        Ok(Submitted::New) => Ok(()),
        Err(Error::Refused(bound)) => Err(bound),
        other => panic!("{other:?}"),
    };
    assert_eq!(submitted(owned("a", "1"), rows).await, Ok(()));
    assert_eq!(submitted(owned("a", "2"), rows).await, Ok(()));
    assert_eq!(submitted(owned("a", "3"), rows).await, Err(Bound::OwnerRows(2)));
    assert_eq!(submitted(owned("b", "4"), rows).await, Ok(()), "another owner has a count of its own");
    assert_eq!(submitted(owned("", "5"), rows).await, Ok(()), "without an owner there is no bound");
    agrees(&store, 4, 8).await;
    let waiting = |owner: &str| store.backlog().count_of_owner(owner);
    assert_eq!(
        (waiting("a"), waiting("b"), waiting("")),
        (Count { rows: 2, bytes: 4 }, Count { rows: 1, bytes: 2 }, Count::default(),)
    );
    // A request that runs does not wait, and waits again if it is put back.
    let mut claimed = store.claim_requests(3).await.unwrap().rows;
    claimed.sort_by_key(|row| &*row.owner != "a");
    for row in claimed.drain(1..) {
        current(store.put_back_request(row.claim).await);
    }
    assert_eq!(waiting("a").rows, 1);
    assert_eq!(submitted(owned("a", "6"), rows).await, Ok(()));
    current(store.put_back_request(claimed.remove(0).claim).await);
    assert_eq!(waiting("a").rows, 3);
    assert_eq!(submitted(owned("a", "7"), rows).await, Err(Bound::OwnerRows(2)));
    // A cancelled request waits no more.
    for name in ["2", "6"] {
        let of = id(name);
        let cancelled = store.cancel(&of, ROUTE, Some("a"), |_, _| (Outcome::cancelled(world.now()), Vec::new()));
        assert!(matches!(cancelled.await.unwrap(), Cancelled::AtOnce(_)));
    }
    assert_eq!(waiting("a"), Count { rows: 1, bytes: 2 });
    let bytes = OwnerLimits { rows: None, bytes: Some(100) };
    let large = |name: &str| NewRequest { owner: "c".into(), ..sized(&world, name, 90) };
    assert_eq!(submitted(large("8"), bytes).await, Ok(()));
    assert_eq!(submitted(large("9"), bytes).await, Err(Bound::OwnerBytes(100)));
    for row in store.claim_requests(10).await.unwrap().rows {
        current(store.settle_request(row.claim, world.done(), Vec::new()).await);
    }
    assert_eq!((waiting("a"), waiting("c")), (Count::default(), Count::default()));
    // The next process continues the count.
    assert_eq!(submitted(owned("a", "10"), rows).await, Ok(()));
    assert_eq!(submitted(owned("a", "11"), rows).await, Ok(()));
    if store.is_durable() {
        store.close().await;
        drop(store);
        let store = world.open().await;
        assert_eq!(store.backlog().count_of_owner("a"), Count { rows: 2, bytes: 4 });
        let refused = store.submit_within(owned("a", "12"), rows).await;
        assert!(matches!(refused, Err(Error::Refused(Bound::OwnerRows(2)))), "{refused:?}");
    }
}

pub(super) async fn no_more_requests_wait_than_may(mut world: World) {
    world.options.max_queued = 10;
    let (store, faults) = world.open_faulty().await;
    faults.hold();
    let ids: Vec<String> = (0..30).map(|n| n.to_string()).collect();
    let submits = join_all(ids.iter().map(|id| store.submit(world.request(id))));
    let (answers, ()) = tokio::join!(submits, async {
        faults.held().await;
        faults.release();
    });
    let accepted = answers.iter().filter(|answer| matches!(answer, Ok(Submitted::New))).count();
    let bound = answers.iter().filter(|answer| matches!(answer, Err(Error::Refused(Bound::Rows(10))))).count();
    assert_eq!((accepted, bound), (10, 20));
    agrees(&store, 10, 20).await;
    // The error for a request above the limit contains `worker.max_queued`, the name of the setting with this limit.
    assert!(refused(&store, world.request("x")).await.to_string().contains("worker.max_queued"));
    // A claimed request runs and no longer counts as waiting. So the store accepts one more request.
    attach(&store);
    let row = store.claim_requests(1).await.unwrap().rows.remove(0);
    submit(&store, world.request("more")).await;
    // The queue is full again, but the claimed request can be put back into it, because the store accepted this request
    // earlier.
    current(store.put_back_request(row.claim).await);
    agrees(&store, 11, 22).await;
    assert_eq!(refused(&store, world.request("x")).await, Bound::Rows(10));
}

pub(super) async fn no_more_bytes_wait_than_may(mut world: World) {
    world.options.max_queued_bytes = 1_000;
    let store = world.open().await;
    // A request above the limit in bytes is accepted if no other request waits.
    submit(&store, sized(&world, "large", 5_000)).await;
    assert_eq!(refused(&store, sized(&world, "x", 0)).await, Bound::Bytes(1_000));
    attach(&store);
    let row = store.claim_requests(1).await.unwrap().rows.remove(0);
    current(store.settle_request(row.claim, world.done(), vec![]).await);
    submit(&store, sized(&world, "a", 600)).await;
    assert_eq!(refused(&store, sized(&world, "x", 401)).await, Bound::Bytes(1_000));
    // The bytes of the headers count towards the limit in bytes, as the bytes of the body do.
    let mut headers = http::HeaderMap::new();
    headers.insert("a", "b".repeat(396).parse().unwrap());
    let b = NewRequest { headers, ..sized(&world, "b", 0) };
    submit(&store, b).await;
    agrees(&store, 2, 1_000).await;
    assert_eq!(refused(&store, sized(&world, "x", 1)).await, Bound::Bytes(1_000));
}

pub(super) async fn a_route_has_bounds_of_its_own(world: World) {
    let store = world.open().await;
    store.limit_routes([(ROUTE.to_owned(), 2, 1_000), ("/unused".to_owned(), 1, 1)]);
    submit(&store, sized(&world, "large", 600)).await;
    let bytes = refused(&store, sized(&world, "x", 401)).await;
    assert_eq!(bytes, Bound::RouteBytes { route: ROUTE.into(), most: 1_000 });
    submit(&store, sized(&world, "small", 400)).await;
    let rows = refused(&store, sized(&world, "x", 0)).await;
    assert_eq!(rows.to_string(), format!("2 requests of {ROUTE} wait already (max_queued of the route)"));
    // Other routes go on, and the store is not full.
    submit(&store, NewRequest { route: "/b".into(), ..sized(&world, "other", 5_000) }).await;
    assert_eq!(store.is_full(), None);
    agrees(&store, 3, 6_000).await;
    // A claimed request makes room for another one.
    attach(&store);
    let row = store.claim_requests(1).await.unwrap().rows.remove(0);
    submit(&store, sized(&world, "more", 1)).await;
    current(store.put_back_request(row.claim).await);
    assert_eq!(refused(&store, sized(&world, "x", 0)).await, rows);
    // The limits can be changed while the store is open.
    store.limit_routes([]);
    submit(&store, sized(&world, "x", 9_000)).await;
}

pub(super) async fn what_waits_is_counted_whatever_becomes_of_it(world: World) {
    let (store, faults) = world.open_faulty().await;
    // A request that is pre-claimed at its submission never waits, so it is not counted.
    let room = Arc::new(Semaphore::new(1));
    let mut handed = store.attach_requests(vec![ROUTE.into()], room);
    submit(&store, sized(&world, "pre-claimed", 7)).await;
    agrees(&store, 0, 0).await;
    let pre_claimed = handed.recv().await.unwrap();
    submit(&store, sized(&world, "waits", 100)).await;
    submit(&store, NewRequest { route: "/b".into(), ..sized(&world, "elsewhere", 10) }).await;
    agrees(&store, 2, 110).await;
    assert_eq!(store.backlog().count_of("/b"), Count { rows: 1, bytes: 10 });
    // A submission with an id that the store already has adds nothing to the number of waiting requests.
    assert_eq!(store.submit(sized(&world, "waits", 100)).await.unwrap(), Submitted::Known);
    assert_eq!(store.submit(sized(&world, "waits", 101)).await.unwrap(), Submitted::Conflict);
    agrees(&store, 2, 110).await;
    // The test puts the request back into the queue twice with the same claim. The second time, the claim is stale, so
    // the number of waiting requests does not change.
    current(store.put_back_request(pre_claimed.row.claim.clone()).await);
    let _ = store.put_back_request(pre_claimed.row.claim).await.unwrap();
    agrees(&store, 3, 117).await;
    drop(handed);
    attach(&store);
    let rows = store.claim_requests(9).await.unwrap().rows;
    assert_eq!((rows.len(), store.backlog().running()), (2, 2));
    agrees(&store, 1, 10).await;
    let mut claims = rows.into_iter().map(|row| row.claim);
    let (first, second) = (claims.next().unwrap(), claims.next().unwrap());
    current(store.settle_request(first.clone(), world.done(), vec![]).await);
    let _ = store.settle_request(first, world.done(), vec![]).await.unwrap();
    current(store.retry_request(second, world.now().saturating_add(Duration::from_mins(1)), None).await);
    // Two requests wait now: one of the route `ROUTE`, and one of the route `/b`.
    let left = store.backlog().count();
    assert_eq!(left.rows, 2);
    // The caller of `claim_requests` drops its future before the claim is committed, so the store puts the claimed
    // request back into the queue.
    world.advance(Duration::from_secs(61));
    assert!({ Box::pin(store.claim_requests(9)) }.as_mut().now_or_never().is_none());
    store.barrier().await.unwrap();
    store.barrier().await.unwrap();
    agrees(&store, 2, left.bytes).await;
    // After a waiting request is cancelled, the request no longer counts as waiting.
    let end = |_, _| (Outcome::cancelled(world.now()), vec![]);
    assert!(matches!(store.cancel(&id("elsewhere"), "/b", None, end).await.unwrap(), Cancelled::AtOnce(_)));
    agrees(&store, 1, left.bytes - 10).await;
    // Each submission is counted once, even if its first commit fails or has an unknown outcome.
    for (n, fault) in [Fault::Transient, Fault::UnknownLost, Fault::UnknownWritten].into_iter().enumerate() {
        faults.next(fault);
        submit(&store, sized(&world, &n.to_string(), 1)).await;
    }
    agrees(&store, 4, left.bytes - 10 + 3).await;
    faults.refuse(|_| true);
    assert!(matches!(store.submit(sized(&world, "bad", 9)).await, Err(Error::Unwritable(_))));
    assert_eq!(store.backlog().count().rows, 4);
    assert_eq!(store.backlog().running(), 0);
}

pub(super) async fn what_is_put_back_and_claimed_in_one_batch_is_counted_once(world: World) {
    let (store, faults) = world.open_faulty().await;
    attach(&store);
    submit(&store, NewRequest { owner: "a".into(), ..world.request("r") }).await;
    let mut feed = store.feed();
    let claim = store.claim_requests(1).await.unwrap().rows.remove(0).claim;
    faults.hold();
    store.post(vec![world.report("x")]).unwrap();
    faults.held().await;
    // The claim comes first, and still gets the request that the later operation of the same batch puts back.
    let mut claimed = Box::pin(store.claim_requests(1));
    assert!(claimed.as_mut().now_or_never().is_none());
    let mut put_back = Box::pin(store.put_back_request(claim));
    assert!(put_back.as_mut().now_or_never().is_none());
    faults.release();
    current(put_back.await);
    let again = claimed.await.unwrap().rows.remove(0);
    assert_eq!((again.claim.epoch, faults.sizes().last()), (2, Some(&2)));
    store.barrier().await.unwrap();
    let mut told = Vec::new();
    while let Some(Some(Heard::Change(change))) = feed.next().now_or_never() {
        if let Change::Request { status, .. } = change {
            told.push(status);
        }
    }
    assert_eq!(told, [RequestStatus::Running, RequestStatus::Queued, RequestStatus::Running]);
    agrees(&store, 0, 0).await;
    assert_eq!((store.backlog().running(), store.backlog().count_of_owner("a")), (1, Count::default()));
    current(store.put_back_request(again.claim).await);
    agrees(&store, 1, 2).await;
    assert_eq!((store.backlog().running(), store.backlog().count_of_owner("a")), (0, Count { rows: 1, bytes: 2 }));
}
