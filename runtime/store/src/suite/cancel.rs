//! Cancelling requests.

use std::cell::Cell;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::Notify;

use super::world::{ROUTE, World, attach, current, id, running, submit};
use crate::record::{Registration, RequestState, Settled};
use crate::{Cancelled, Store};
use postback_wire::report::{Ends, Outcome};
use postback_wire::webhook::{Provenance, Webhook};

const SECOND: Duration = Duration::from_secs(1);

/// Cancels the request. If the request waits, the store commits its cancellation with one report.
async fn cancel(world: &World, store: &Store, of: &str) -> Cancelled {
    let end = |_, _| (Outcome::cancelled(world.now()), vec![world.report(of)]);
    store.cancel(&id(of), ROUTE, None, end).await.unwrap()
}

async fn state(store: &Store, of: &str) -> RequestState {
    store.request(&id(of)).await.unwrap().unwrap().state
}

pub(super) async fn cancel_queued_at_once(world: World) {
    let store = world.open().await;
    attach(&store);
    submit(&store, world.request("r")).await;
    submit(&store, world.request("other")).await;
    let watch = store.watch(&id("r"));
    let outcome = Outcome::cancelled(world.now());
    assert_eq!(cancel(&world, &store, "r").await, Cancelled::AtOnce(outcome.clone()));
    watch.settled().await;
    assert_eq!(state(&store, "r").await, RequestState::Settled(outcome));
    assert_eq!(store.deliveries("r").await.unwrap().len(), 1);
    assert_eq!(store.claim_reports(5).await.unwrap().rows.len(), 1);
    let counts = store.counts().await.unwrap();
    assert_eq!((counts.queued.get(ROUTE), counts.running), (Some(&1), 0));
    let rows = store.claim_requests(5).await.unwrap().rows;
    assert_eq!(rows.iter().map(|row| row.claim.id.as_str()).collect::<Vec<_>>(), ["other"]);
    world.advance(SECOND);
    assert_eq!(store.purge(world.now(), 5).await.unwrap(), 1);
}

pub(super) async fn cancel_says_what_there_is_not_and_what_is_over(world: World) {
    let store = world.open().await;
    assert_eq!(cancel(&world, &store, "nobody").await, Cancelled::Unknown);
    let done = running(&world, &store, "done").await;
    current(store.settle_request(done.claim, world.done(), vec![]).await);
    submit(&store, world.request("r")).await;
    assert!(matches!(cancel(&world, &store, "r").await, Cancelled::AtOnce(_)));
    for over in ["done", "r"] {
        let before = state(&store, over).await;
        assert_eq!(cancel(&world, &store, over).await, Cancelled::Over);
        assert_eq!(state(&store, over).await, before);
    }
    // A request cannot be cancelled through a route to which it was not submitted.
    submit(&store, world.request("s")).await;
    let elsewhere =
        store.cancel(&id("s"), "/elsewhere", None, |_, _| panic!("the request is of another route")).await.unwrap();
    assert_eq!((elsewhere, state(&store, "s").await), (Cancelled::Unknown, RequestState::Queued));
    assert_eq!(store.deliveries("done").await.unwrap().len() + store.deliveries("nobody").await.unwrap().len(), 0);
}

pub(super) async fn cancel_running_flags_and_settles(world: World) {
    let store = world.open().await;
    let run = running(&world, &store, "r").await;
    let cancellation = store.cancellation(&run.claim);
    assert!(!cancellation.is_cancelled());
    for _ in 0..2 {
        let asked = store.cancel(&id("r"), ROUTE, None, |_, _| panic!("it does not wait")).await.unwrap();
        assert_eq!(asked, Cancelled::Stopping);
        assert!(cancellation.is_cancelled());
    }
    assert_eq!(state(&store, "r").await, RequestState::Running);
    assert!(store.deliveries("r").await.unwrap().is_empty());
    let outcome = Outcome::cancelled(world.now());
    current(store.settle_request(run.claim, outcome.clone(), vec![world.report("r")]).await);
    assert_eq!(state(&store, "r").await, RequestState::Settled(outcome));
    assert_eq!(cancel(&world, &store, "r").await, Cancelled::Over);

    // The test asks for the cancellation token of this run after the cancellation, and the token is already cancelled.
    // The run completes nevertheless.
    let run = running(&world, &store, "s").await;
    assert_eq!(cancel(&world, &store, "s").await, Cancelled::Stopping);
    assert!(store.cancellation(&run.claim).is_cancelled());
    current(store.settle_request(run.claim, world.done(), vec![]).await);
    assert_eq!(state(&store, "s").await, RequestState::Settled(world.done()));
    store.barrier().await.unwrap();
    assert_eq!(store.0.shared.local.wake.cancels.len(), 0, "nothing is kept of what is over");
}

pub(super) async fn settle_after_cancel_is_refused(world: World) {
    let store = world.open().await;
    let late = running(&world, &store, "r").await.claim;
    current(store.retry_request(late.clone(), world.now(), None).await);
    assert!(matches!(cancel(&world, &store, "r").await, Cancelled::AtOnce(_)));
    let before = state(&store, "r").await;
    let settled = store.settle_request(late.clone(), world.done(), vec![world.report("r")]).await;
    assert_eq!(settled.unwrap(), Settled::Stale);
    assert_eq!(store.retry_request(late.clone(), world.now(), None).await.unwrap(), Settled::Stale);
    assert_eq!(store.put_back_request(late.clone()).await.unwrap(), Settled::Stale);
    assert_eq!(store.register(late, Registration::default()).await.unwrap(), Settled::Stale);
    assert_eq!(state(&store, "r").await, before);
    assert_eq!(store.deliveries("r").await.unwrap().len(), 1);
    assert!(store.claim_requests(5).await.unwrap().rows.is_empty());
}

pub(super) async fn what_is_cancelled_is_not_run_again(world: World) {
    let store = world.open().await;
    let run = running(&world, &store, "r").await;
    assert!(!run.cancelled);
    assert_eq!(cancel(&world, &store, "r").await, Cancelled::Stopping);
    // The run fails before the worker knows that the request is cancelled. So the worker asks the store for another
    // run.
    current(store.retry_request(run.claim, world.now().saturating_add(SECOND * 60), None).await);
    let again = store.claim_requests(5).await.unwrap().rows.remove(0);
    assert!(again.cancelled, "at once, and not to be run");
    current(store.put_back_request(again.claim).await);
    assert_eq!(state(&store, "r").await, RequestState::Queued);
    assert!(matches!(cancel(&world, &store, "r").await, Cancelled::AtOnce(_)));
    assert_eq!(store.0.shared.local.wake.cancels.len(), 0);
}

pub(super) async fn what_waits_again_is_reported_where_it_registered(world: World) {
    let store = world.open().await;
    let webhook = Webhook::new("https://example.com/ended").unwrap().chosen_by(Some(Provenance::Operator));
    let registration = Registration { webhooks: vec![webhook], on: Ends::CANCELLED, tells_reason: true };
    let run = running(&world, &store, "r").await.claim;
    current(store.register(run.clone(), registration.clone()).await);
    current(store.retry_request(run, world.now().saturating_add(SECOND), None).await);
    let (mut seen, r) = (None, id("r"));
    let cancelled = store.cancel(&r, ROUTE, None, |registered, _| {
        seen = registered;
        (Outcome::cancelled(world.now()), vec![])
    });
    assert!(matches!(cancelled.await.unwrap(), Cancelled::AtOnce(_)));
    assert_eq!(seen, Some(registration));
    world.advance(SECOND);
    assert!(store.claim_requests(5).await.unwrap().rows.is_empty());
}

pub(super) async fn a_cancel_that_meets_a_claim_looks_again(world: World) {
    let (store, faults) = world.open_faulty().await;
    attach(&store);
    submit(&store, world.request("r")).await;
    faults.hold();
    let mut claim = Box::pin(store.claim_requests(1));
    assert!(claim.as_mut().now_or_never().is_none());
    faults.held().await;
    // `cancel` reads the request before the claim is committed, so `cancel` still sees a request that waits.
    let (looked, times, r) = (Notify::new(), Cell::new(0), id("r"));
    let cancel = store.cancel(&r, ROUTE, None, |_, _| {
        times.set(times.get() + 1);
        looked.notify_one();
        (Outcome::cancelled(world.now()), vec![world.report("r")])
    });
    let release = async {
        looked.notified().await;
        faults.release();
    };
    let (claimed, cancelled, ()) = tokio::join!(claim, cancel, release);
    assert_eq!((cancelled.unwrap(), times.get()), (Cancelled::Stopping, 1));
    let claim = claimed.unwrap().rows.remove(0).claim;
    assert!(store.cancellation(&claim).is_cancelled());
    assert!(store.deliveries("r").await.unwrap().is_empty());
    // The report of the cancellation was not written, because the request runs. So `attempted` must not wait for the
    // first attempt of this report.
    let posted = store.barrier().await.unwrap();
    store.attempted(posted).await;
}

pub(super) async fn many_who_cancel_the_same_cost_one_commit(world: World) {
    let (store, faults) = world.open_faulty().await;
    let run = running(&world, &store, "r").await;
    submit(&store, world.request("waits")).await;
    let before = faults.sizes().len();
    let all = futures_util::future::join_all((0..50).map(|_| cancel(&world, &store, "r"))).await;
    assert!(all.iter().all(|cancelled| *cancelled == Cancelled::Stopping));
    assert_eq!(cancel(&world, &store, "r").await, Cancelled::Stopping);
    assert_eq!(faults.sizes().len(), before + 1);
    assert!(store.cancellation(&run.claim).is_cancelled());
    let all = futures_util::future::join_all((0..50).map(|_| cancel(&world, &store, "waits"))).await;
    let at_once = all.iter().filter(|cancelled| matches!(cancelled, Cancelled::AtOnce(_))).count();
    let over = all.iter().filter(|cancelled| **cancelled == Cancelled::Over).count();
    assert_eq!((at_once, over, faults.sizes().len()), (1, 49, before + 2));
}
