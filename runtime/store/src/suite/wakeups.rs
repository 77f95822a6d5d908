//! Which tasks are woken, and when.

use futures_util::FutureExt as _;

use super::world::{World, attach, current, delivering, id, running};
use crate::record::{NewReport, Next, RequestState};

pub(super) async fn wake_after_commit_not_before(world: World) {
    let (store, faults) = world.open_faulty().await;
    attach(&store);
    faults.hold();
    let mut submitted = Box::pin(store.submit(world.request("r")));
    assert!(submitted.as_mut().now_or_never().is_none());
    faults.held().await;
    assert!(store.requests_due().now_or_never().is_none());
    faults.release();
    store.requests_due().await;
    assert_eq!(store.claim_requests(1).await.unwrap().rows.len(), 1);
    submitted.await.unwrap();
}

pub(super) async fn a_signal_between_calls_is_kept(world: World) {
    let store = world.open().await;
    let claimed = running(&world, &store, "r").await;
    store.requests_due().await;
    assert!(store.requests_due().now_or_never().is_none());
    current(store.put_back_request(claimed.claim).await);
    store.barrier().await.unwrap();
    store.requests_due().await;

    let report = delivering(&store, world.report("x")).await;
    store.reports_due().await;
    current(store.settle_report(report.claim, world.attempt(500), Next::RetryAt(world.now())).await);
    store.barrier().await.unwrap();
    store.reports_due().await;
    assert!(store.reports_due().now_or_never().is_none());
}

pub(super) async fn lost_wake_is_found_by_poll(world: World) {
    let store = world.open().await;
    attach(&store);
    // These two futures receive the signals instead of the worker and the delivery. A claim without a signal must still
    // find the rows.
    let (mut request, mut report) = (Box::pin(store.requests_due()), Box::pin(store.reports_due()));
    assert!(request.as_mut().now_or_never().is_none());
    assert!(report.as_mut().now_or_never().is_none());
    super::world::submit(&store, world.request("r")).await;
    store.post_durably(vec![world.report("r")]).await.unwrap();
    assert!(store.requests_due().now_or_never().is_none());
    assert!(store.reports_due().now_or_never().is_none());
    assert_eq!(store.claim_requests(9).await.unwrap().rows.len(), 1);
    assert_eq!(store.claim_reports(9).await.unwrap().rows.len(), 1);
}

pub(super) async fn a_watch_taken_before_sees_the_end(world: World) {
    let store = world.open().await;
    let claimed = running(&world, &store, "r").await;
    let (early, other) = (store.watch(&id("r")), store.watch(&id("other")));
    assert!(early.settled().now_or_never().is_none());
    current(store.settle_request(claimed.claim, world.done(), vec![]).await);
    early.settled().await;
    early.settled().await;
    assert!(matches!(store.request(&id("r")).await.unwrap().unwrap().state, RequestState::Settled(_)));
    assert!(store.watch(&id("r")).settled().now_or_never().is_none());
    assert!(other.settled().now_or_never().is_none());
}

pub(super) async fn watches_leave_nothing_behind(world: World) {
    let store = world.open().await;
    let count = || store.0.shared.local.wake.watches.len();
    let (one, two) = (store.watch(&id("r")), store.watch(&id("r")));
    drop(one);
    assert_eq!(count(), 1);
    drop(two);
    assert_eq!(count(), 0);
    let claimed = running(&world, &store, "r").await;
    let old = store.watch(&id("r"));
    current(store.settle_request(claimed.claim, world.done(), vec![]).await);
    old.settled().await;
    let new = store.watch(&id("r"));
    drop(old);
    assert_eq!(count(), 1, "dropping an old watch must not remove a newer watch");
    drop(new);
    assert_eq!(count(), 0);
}

pub(super) async fn each_first_attempt_is_waited_for(world: World) {
    let store = world.open().await;
    store.attempted(0).await;
    let refused = NewReport { refused: Some("no".into()), ..world.report("x") };
    store.post(vec![world.report("x"), refused, world.report("x")]).unwrap();
    let posted = store.barrier().await.unwrap();
    assert_eq!(posted, 2);
    store.post(vec![world.report("later")]).unwrap();
    let mut waiting = Box::pin(store.attempted(posted));
    assert!(waiting.as_mut().now_or_never().is_none());
    let rows = store.claim_reports(2).await.unwrap().rows;
    current(store.settle_report(rows[0].claim.clone(), world.attempt(500), Next::RetryAt(world.now())).await);
    // The report was put back into the queue without an attempt. So `attempted` must still wait for the first attempt
    // of this report.
    current(store.put_back_report(rows[1].claim.clone()).await);
    store.barrier().await.unwrap();
    assert!(waiting.as_mut().now_or_never().is_none());
    for row in store.claim_reports(10).await.unwrap().rows {
        current(store.settle_report(row.claim, world.attempt(200), Next::Delivered).await);
    }
    waiting.await;
}
