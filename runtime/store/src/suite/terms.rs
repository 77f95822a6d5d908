//! The terms of single requests: a delay, and a time until which the first run must begin.

use std::time::Duration;

use futures_util::FutureExt as _;

use super::world::{ROUTE, World, attach, current, id, submit};
use crate::record::{ClaimedRequest, NewRequest};
use crate::terms::Terms;
use crate::{Cancelled, Store};
use postback_wire::report::Outcome;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);

fn later(world: &World, name: &str, delay: Duration) -> NewRequest {
    let run_at = Some(world.now().saturating_add(delay));
    NewRequest { terms: Terms { run_at, ..Terms::default() }, ..world.request(name) }
}

fn until(world: &World, name: &str, time: Duration) -> NewRequest {
    let deadline = Some(world.now().saturating_add(time));
    NewRequest { terms: Terms { deadline, ..Terms::default() }, ..world.request(name) }
}

fn ids(rows: &[ClaimedRequest]) -> Vec<&str> {
    rows.iter().map(|row| row.claim.id.as_str()).collect()
}

pub(super) async fn a_delayed_request_can_be_cancelled(world: World) {
    let store = world.open().await;
    attach(&store);
    submit(&store, later(&world, "r", MINUTE)).await;
    let end = |_, _| (Outcome::cancelled(world.now()), vec![]);
    assert!(matches!(store.cancel(&id("r"), ROUTE, None, end).await.unwrap(), Cancelled::AtOnce(_)));
    world.advance(MINUTE);
    let batch = store.claim_requests(9).await.unwrap();
    assert_eq!((batch.rows.len(), batch.next_due), (0, None));
    assert_eq!(store.counts().await.unwrap().queued.values().sum::<u64>(), 0);
}

pub(super) async fn a_request_is_due_at_its_time_however_long_its_body_takes(world: World) {
    let store = world.open().await;
    let room = std::sync::Arc::new(tokio::sync::Semaphore::new(1));
    let mut channel = store.attach_requests(vec![ROUTE.into()], room);
    let slow = later(&world, "slow", MINUTE);
    let too_slow = later(&world, "too slow", SECOND);
    world.advance(SECOND);
    submit(&store, slow).await;
    // The time of this request is over when the request comes, so it is as any other new request.
    submit(&store, too_slow).await;
    assert!(channel.recv().now_or_never().is_some_and(|row| row.unwrap().row.claim.id == id("too slow")));
    world.advance(SECOND * 59);
    assert_eq!(ids(&store.claim_requests(9).await.unwrap().rows), ["slow"]);
}

pub(super) async fn many_delayed_requests_become_due_together(world: World) {
    let store = world.open().await;
    attach(&store);
    for n in 0..300 {
        submit(&store, later(&world, &format!("{n:03}"), MINUTE)).await;
    }
    submit(&store, world.request("now")).await;
    assert_eq!(ids(&store.claim_requests(400).await.unwrap().rows), ["now"]);
    assert_eq!(store.counts().await.unwrap().queued[ROUTE], 300);
    world.advance(MINUTE);
    let mut claimed = Vec::new();
    while claimed.len() < 300 {
        let batch = store.claim_requests(400).await.unwrap();
        assert!(!batch.rows.is_empty());
        claimed.extend(batch.rows.into_iter().map(|row| row.claim.id.to_string()));
        assert_eq!(batch.next_due.is_none(), claimed.len() == 300, "the worker must claim again");
    }
    assert!(claimed.is_sorted());
}

pub(super) async fn a_request_that_is_not_begun_in_time_is_claimed_to_be_settled(world: World) {
    let store = world.open().await;
    assert_eq!(store.claim_expired(9).await.unwrap().next_due, None);
    submit(&store, until(&world, "other", MINUTE)).await;
    assert!(store.expires_earlier().now_or_never().is_some());
    submit(&store, until(&world, "later", MINUTE * 2)).await;
    assert!(store.expires_earlier().now_or_never().is_none(), "nothing has to be claimed earlier");
    submit(&store, until(&world, "soon", SECOND)).await;
    submit(&store, NewRequest { route: "/unknown".into(), ..until(&world, "unknown", SECOND) }).await;
    submit(&store, world.request("always")).await;
    assert!(store.expires_earlier().now_or_never().is_some());
    let batch = store.claim_expired(9).await.unwrap();
    assert_eq!((batch.rows.len(), batch.next_due), (0, Some(world.now().saturating_add(SECOND))));
    world.advance(SECOND);
    let batch = store.claim_expired(1).await.unwrap();
    assert_eq!((ids(&batch.rows), batch.next_due), (vec!["soon"], Some(world.now())));
    assert!(batch.rows[0].expired);
    let more = store.claim_expired(9).await.unwrap();
    assert_eq!(ids(&more.rows), ["unknown"]);
    assert_eq!(more.next_due, Some(world.now().saturating_add(MINUTE).saturating_sub(SECOND)));
    for row in batch.rows.into_iter().chain(more.rows) {
        current(store.settle_request(row.claim, world.done(), vec![]).await);
    }
    assert_eq!(store.counts().await.unwrap().queued.values().sum::<u64>(), 3);
    assert_eq!(store.backlog().count().rows, 3);
    // A request that is claimed only now is too late, too.
    world.advance(MINUTE);
    attach(&store);
    let rows = store.claim_requests(9).await.unwrap().rows;
    let told: Vec<_> = rows.iter().map(|row| (row.claim.id.as_str(), row.expired)).collect();
    assert_eq!(told, [("other", true), ("later", false), ("always", false)]);
    assert_eq!(store.claim_expired(9).await.unwrap().next_due, None);
}

pub(super) async fn a_request_that_was_begun_in_time_does_not_expire(world: World) {
    let store = world.open().await;
    attach(&store);
    submit(&store, until(&world, "r", SECOND)).await;
    let claim = claimed(&store).await;
    world.advance(MINUTE);
    assert_eq!(store.claim_expired(9).await.unwrap().rows.len(), 0);
    current(store.retry_request(claim.claim, world.now(), None).await);
    assert_eq!(store.claim_expired(9).await.unwrap().rows.len(), 0);
    assert!(!claimed(&store).await.expired);

    submit(&store, until(&world, "put back", SECOND)).await;
    let claim = claimed(&store).await.claim;
    world.advance(MINUTE);
    current(store.put_back_request(claim).await);
    assert_eq!(store.claim_expired(9).await.unwrap().rows.len(), 0);
    assert!(!claimed(&store).await.expired);

    // A request that was claimed, but has not begun to run, is not in time.
    for by_worker in [true, false] {
        let name = if by_worker { "given back" } else { "given back later" };
        submit(&store, until(&world, name, SECOND)).await;
        let claim = claimed(&store).await.claim;
        world.advance(MINUTE);
        current(store.give_back_request(claim).await);
        let given_back = store.timeline(&id(name)).await.unwrap().unwrap();
        assert_eq!((given_back.runs.len(), given_back.epoch), (0, 1));
        let claim = if by_worker { store.claim_requests(1).await } else { store.claim_expired(1).await };
        let mut rows = claim.unwrap().rows;
        assert!(rows.remove(0).expired);
        // It will not run, so its timeline has no begin of a run.
        assert_eq!(store.timeline(&id(name)).await.unwrap().unwrap().started, None);
    }

    submit(&store, until(&world, "cancelled", SECOND)).await;
    let end = |_, _| (Outcome::cancelled(world.now()), vec![]);
    assert!(matches!(store.cancel(&id("cancelled"), ROUTE, None, end).await.unwrap(), Cancelled::AtOnce(_)));
    world.advance(SECOND);
    let batch = store.claim_expired(9).await.unwrap();
    assert_eq!((batch.rows.len(), batch.next_due), (0, None));
}

async fn claimed(store: &Store) -> ClaimedRequest {
    store.claim_requests(1).await.unwrap().rows.remove(0)
}

pub(super) async fn expired_requests_are_claimed_within_a_bound_of_bytes(world: World) {
    let store = world.open().await;
    for n in 0..3 {
        let body = vec![7; 3 << 20].into();
        submit(&store, NewRequest { body, ..until(&world, &n.to_string(), SECOND) }).await;
    }
    world.advance(SECOND);
    assert_eq!(ids(&store.claim_expired(9).await.unwrap().rows), ["0", "1"]);
    assert_eq!(ids(&store.claim_expired(9).await.unwrap().rows), ["2"]);
}
