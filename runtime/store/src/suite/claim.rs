//! Which rows a claim returns.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use tokio::sync::Semaphore;

use super::world::{ROUTE, World, attach, current, delivering, running, submit};
use crate::record::{NewReport, NewRequest, Next};

const SECOND: Duration = Duration::from_secs(1);

pub(super) async fn claim_respects_limit(world: World) {
    let store = world.open().await;
    attach(&store);
    for n in 0..5 {
        submit(&store, world.request(&n.to_string())).await;
    }
    assert_eq!(store.claim_requests(0).await.unwrap().rows.len(), 0);
    let batch = store.claim_requests(3).await.unwrap();
    assert_eq!(batch.rows.len(), 3);
    assert_eq!(batch.next_due, Some(world.now()));
    assert_eq!(store.claim_requests(3).await.unwrap().rows.len(), 2);
}

pub(super) async fn claim_order_due_then_seq(world: World) {
    let store = world.open().await;
    attach(&store);
    for (id, later) in [("c", 3), ("a", 1), ("d", 3), ("b", 2), ("e", 4)] {
        let claimed = running(&world, &store, id).await;
        current(store.retry_request(claimed.claim, world.now().saturating_add(SECOND * later), None).await);
    }
    world.advance(SECOND * 4);
    let rows = store.claim_requests(10).await.unwrap().rows;
    assert_eq!(rows.iter().map(|row| row.claim.id.as_str()).collect::<Vec<_>>(), ["a", "b", "c", "d", "e"]);
}

pub(super) async fn claim_skips_future_due(world: World) {
    let store = world.open().await;
    let report = delivering(&store, world.report("x")).await;
    let later = world.now().saturating_add(SECOND);
    current(store.settle_report(report.claim, world.attempt(500), Next::RetryAt(later)).await);
    let batch = store.claim_reports(10).await.unwrap();
    assert_eq!((batch.rows.len(), batch.next_due), (0, Some(later)));
    world.advance(SECOND);
    assert_eq!(store.claim_reports(10).await.unwrap().rows.len(), 1);
}

pub(super) async fn due_exactly_now_is_claimed(world: World) {
    let store = world.open().await;
    let claimed = running(&world, &store, "r").await;
    current(store.retry_request(claimed.claim, world.now(), None).await);
    assert_eq!(store.claim_requests(1).await.unwrap().rows.len(), 1);
}

pub(super) async fn no_row_claimed_twice(world: World) {
    const ROWS: usize = 10_000;
    let store = world.open().await;
    let reports: Vec<_> = (0..ROWS).map(|_| world.report("x")).collect();
    store.post_durably(reports).await.unwrap();
    let claimers = (0..16).map(|_| async {
        let mut mine = Vec::new();
        loop {
            let rows = store.claim_reports(97).await.unwrap().rows;
            if rows.is_empty() {
                return mine;
            }
            mine.extend(rows.into_iter().map(|row| row.claim.id));
        }
    });
    let claimed: Vec<_> = join_all(claimers).await.concat();
    assert_eq!(claimed.len(), ROWS);
    assert_eq!(claimed.into_iter().collect::<HashSet<_>>().len(), ROWS);
}

pub(super) async fn claim_increments_epoch_and_attempt(world: World) {
    let store = world.open().await;
    let mut report = delivering(&store, world.report("x")).await;
    let mut request = running(&world, &store, "r").await;
    for n in 1..5 {
        assert_eq!((report.claim.epoch, report.attempt), (n, n));
        assert_eq!((request.claim.epoch, request.failures, request.crashes), (n, n - 1, 0));
        current(store.settle_report(report.claim, world.attempt(500), Next::RetryAt(world.now())).await);
        current(store.retry_request(request.claim, world.now(), None).await);
        report = store.claim_reports(1).await.unwrap().rows.remove(0);
        request = store.claim_requests(1).await.unwrap().rows.remove(0);
    }
}

pub(super) async fn claim_empty_returns_next_due(world: World) {
    let store = world.open().await;
    attach(&store);
    assert_eq!(store.claim_requests(1).await.unwrap().next_due, None);
    assert_eq!(store.claim_reports(1).await.unwrap().next_due, None);
    let claimed = running(&world, &store, "r").await;
    let due = world.now().saturating_add(SECOND);
    current(store.retry_request(claimed.claim, due, None).await);
    let batch = store.claim_requests(1).await.unwrap();
    assert_eq!((batch.rows.len(), batch.next_due), (0, Some(due)));
}

pub(super) async fn older_due_inserted_late_is_still_claimed(world: World) {
    let store = world.open().await;
    attach(&store);
    let old = running(&world, &store, "old").await;
    submit(&store, world.request("new")).await;
    assert_eq!(store.claim_requests(1).await.unwrap().rows.len(), 1);
    current(store.retry_request(old.claim, world.now().saturating_sub(Duration::from_hours(1)), None).await);
    assert_eq!(store.claim_requests(1).await.unwrap().rows.len(), 1);
}

pub(super) async fn claims_are_for_attached_routes_only(world: World) {
    let store = world.open().await;
    submit(&store, NewRequest { route: "/other".into(), ..world.request("1") }).await;
    submit(&store, world.request("2")).await;
    assert!(store.claim_requests(10).await.unwrap().rows.is_empty());
    attach(&store);
    let batch = store.claim_requests(10).await.unwrap();
    assert_eq!((batch.rows.len(), batch.next_due), (1, None));
    assert_eq!(batch.rows[0].route, ROUTE);
    assert_eq!(store.counts().await.unwrap().queued.get("/other"), Some(&1));
}

pub(super) async fn pre_claimed_rows_are_not_claimable(world: World) {
    let store = world.open().await;
    let mut requests = store.attach_requests(vec![ROUTE.into()], Arc::new(Semaphore::new(1)));
    let mut reports = store.attach_reports(Arc::new(Semaphore::new(1)));
    submit(&store, world.request("r")).await;
    let mut noted = world.report("r");
    noted.note = Some("/a r completed".into());
    store.post_durably(vec![noted]).await.unwrap();
    let request = requests.recv().await.unwrap();
    let report = reports.recv().await.unwrap();
    assert_eq!((request.row.claim.epoch, request.row.body.as_ref()), (1, &b"{}"[..]));
    assert_eq!((report.row.claim.epoch, report.row.attempt), (1, 1));
    assert_eq!(report.row.note.as_deref(), Some("/a r completed"));
    assert!(store.claim_requests(10).await.unwrap().rows.is_empty());
    assert!(store.claim_reports(10).await.unwrap().rows.is_empty());
    assert_eq!(store.counts().await.unwrap().running, 1);
    current(store.settle_request(request.row.claim, world.done(), vec![]).await);
    current(store.settle_report(report.row.claim, world.attempt(200), Next::Delivered).await);
}

pub(super) async fn a_pre_claim_needs_room_and_route(world: World) {
    let store = world.open().await;
    let room = Arc::new(Semaphore::new(1));
    let mut held = store.attach_requests(vec![ROUTE.into()], room.clone());
    submit(&store, NewRequest { route: "/other".into(), ..world.request("0") }).await;
    submit(&store, world.request("1")).await;
    submit(&store, world.request("2")).await;
    let first = held.recv().await.unwrap();
    assert_eq!(first.row.claim.id.as_str(), "1");
    assert!(held.recv().now_or_never().is_none());
    assert_eq!(room.available_permits(), 0);
    drop(first.room);
    assert_eq!(store.claim_requests(10).await.unwrap().rows.len(), 1);
}

pub(super) async fn a_large_report_takes_more_room(world: World) {
    let store = world.open().await;
    let room = Arc::new(Semaphore::new(300));
    let mut held = store.attach_reports(room.clone());
    let of = |bytes: usize| NewReport { body: vec![7; bytes].into(), ..world.report("x") };
    store.post_durably(vec![of(1_000)]).await.unwrap();
    let small = held.recv().await.unwrap();
    assert_eq!(room.available_permits(), 299);
    store.post_durably(vec![of(1 << 20)]).await.unwrap();
    let large = held.recv().await.unwrap();
    assert_eq!(room.available_permits(), 42);
    drop((small, large));
    assert_eq!(room.available_permits(), 300);
    // The semaphore has too few permits for a report of this size. So the report is not pre-claimed, and waits in the
    // store.
    store.post_durably(vec![of(2 << 20)]).await.unwrap();
    assert!(held.recv().now_or_never().is_none());
    assert_eq!(store.claim_reports(1).await.unwrap().rows[0].body.len(), 2 << 20);
}

pub(super) async fn nothing_is_pre_claimed_past_older_rows(world: World) {
    let store = world.open().await;
    submit(&store, world.request("1")).await;
    let room = Arc::new(Semaphore::new(10));
    let mut held = store.attach_requests(vec![ROUTE.into()], room);
    submit(&store, world.request("2")).await;
    let batch = store.claim_requests(1).await.unwrap();
    assert_eq!(batch.rows[0].claim.id.as_str(), "1");
    submit(&store, world.request("3")).await;
    assert_eq!(store.claim_requests(10).await.unwrap().rows.len(), 2);
    submit(&store, world.request("4")).await;
    assert_eq!(held.recv().await.unwrap().row.claim.id.as_str(), "4");
    assert!(held.recv().now_or_never().is_none());
}

pub(super) async fn rows_return_when_the_receiver_is_gone(world: World) {
    let (store, faults) = world.open_faulty().await;
    let held = store.attach_reports(Arc::new(Semaphore::new(10)));
    faults.hold();
    store.post(vec![world.report("x")]).unwrap();
    // The faulty backend now holds the batch that writes the report as pre-claimed. The test drops the receiver of
    // pre-claimed reports before this batch is committed.
    faults.held().await;
    drop(held);
    faults.release();
    store.barrier().await.unwrap();
    store.reports_due().await;
    let row = store.claim_reports(1).await.unwrap().rows.remove(0);
    assert_eq!((row.claim.epoch, row.attempt), (2, 1));
}

pub(super) async fn claimed_rows_return_when_the_caller_is_gone(world: World) {
    let (store, faults) = world.open_faulty().await;
    store.post_durably(vec![world.report("x")]).await.unwrap();
    faults.hold();
    let mut claim = Box::pin(store.claim_reports(1));
    assert!(claim.as_mut().now_or_never().is_none());
    faults.held().await;
    drop(claim);
    faults.release();
    // The store sends the first signal when the report is posted. It sends the second signal when it puts the claimed
    // report back into the queue, because the caller of `claim_reports` has dropped its future.
    store.reports_due().await;
    store.reports_due().await;
    let row = store.claim_reports(1).await.unwrap().rows.remove(0);
    assert_eq!((row.claim.epoch, row.attempt), (2, 1));
}

/// Returns the sizes of the bodies in the test, in the order in which their rows are due, and the number of rows that
/// each of the first five claims must return. One claim returns at most 7 large bodies, because 8 would exceed the
/// claim's limit in bytes. A claim with a giant body returns no other row. If the bodies are small, the claim limits
/// only the number of rows.
fn bodies() -> (Vec<usize>, [usize; 5]) {
    let (large, giant) = (1_100 << 10, 9 << 20);
    let bodies = [vec![large; 10], vec![giant, 10], vec![giant], vec![10; 40]].concat();
    (bodies, [7, 3, 1, 1, 1])
}

fn body(size: usize) -> bytes::Bytes {
    vec![7; size].into()
}

pub(super) async fn a_claim_of_reports_is_bounded_by_bytes(world: World) {
    let store = world.open().await;
    let (sizes, claims) = bodies();
    let reports: Vec<_> = sizes.iter().map(|size| NewReport { body: body(*size), ..world.report("x") }).collect();
    let posted: Vec<_> = reports.iter().map(|report| report.id).collect();
    store.post_durably(reports).await.unwrap();
    let mut claimed = Vec::new();
    for rows in claims {
        let batch = store.claim_reports(30).await.unwrap();
        assert_eq!((batch.rows.len(), batch.next_due), (rows, Some(world.now())));
        claimed.extend(batch.rows);
    }
    for (rows, next_due) in [(30, Some(world.now())), (10, None)] {
        let batch = store.claim_reports(30).await.unwrap();
        assert_eq!((batch.rows.len(), batch.next_due), (rows, next_due));
        claimed.extend(batch.rows);
    }
    assert_eq!(claimed.iter().map(|row| row.claim.id).collect::<Vec<_>>(), posted);
    assert_eq!(claimed.iter().map(|row| row.body.len()).collect::<Vec<_>>(), sizes);
    assert!(claimed.iter().all(|row| (row.attempt, row.claim.epoch) == (1, 1)));
}

pub(super) async fn a_claim_of_parked_reports_is_bounded_by_bytes(world: World) {
    let store = world.open().await;
    let (sizes, claims) = bodies();
    let reports: Vec<_> = sizes.iter().map(|size| NewReport { body: body(*size), ..world.report("x") }).collect();
    let posted: Vec<_> = reports.iter().map(|report| report.id).collect();
    let origin = reports[0].to.origin().to_owned();
    store.post_durably(reports).await.unwrap();
    for _ in &posted {
        let row = store.claim_reports(1).await.unwrap().rows.remove(0);
        current(store.park_report(row.claim).await);
    }
    let mut claimed = Vec::new();
    for rows in claims {
        let batch = store.claim_parked(&origin, 30).await.unwrap();
        assert_eq!((batch.rows.len(), batch.next_due), (rows, Some(world.now())));
        claimed.extend(batch.rows);
    }
    let batch = store.claim_parked(&origin, 100).await.unwrap();
    assert_eq!((batch.rows.len(), batch.next_due), (40, None));
    claimed.extend(batch.rows);
    assert_eq!(claimed.iter().map(|row| row.claim.id).collect::<Vec<_>>(), posted);
}

pub(super) async fn a_claim_of_requests_is_bounded_by_bytes(world: World) {
    let store = world.open().await;
    attach(&store);
    let (sizes, claims) = bodies();
    for (n, size) in sizes.iter().enumerate() {
        submit(&store, NewRequest { body: body(*size), ..world.request(&n.to_string()) }).await;
        // No worker claims requests of the route `/other`. These requests must not use up the limit in bytes of a claim
        // for the route `ROUTE`.
        let other = NewRequest { route: "/other".into(), body: body(100_000), ..world.request(&format!("other {n}")) };
        submit(&store, other).await;
    }
    let mut claimed = Vec::new();
    for rows in claims {
        let batch = store.claim_requests(30).await.unwrap();
        assert_eq!((batch.rows.len(), batch.next_due), (rows, Some(world.now())));
        claimed.extend(batch.rows);
    }
    let batch = store.claim_requests(100).await.unwrap();
    assert_eq!((batch.rows.len(), batch.next_due), (40, None));
    claimed.extend(batch.rows);
    let ids: Vec<_> = claimed.iter().map(|row| row.claim.id.as_str().parse::<usize>().unwrap()).collect();
    assert_eq!(ids, (0..sizes.len()).collect::<Vec<_>>());
}
