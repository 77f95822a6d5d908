//! The wall clock is set while the store is open, and while it is closed.

use std::time::Duration;

use super::world::{World, attach, current, delivering, running, submit};
use crate::Store;
use crate::record::{Next, RequestState};
use postback_wire::time::Timestamp;

const HOUR: Duration = Duration::from_hours(1);
const DAY: i64 = 86_400;

/// Writes a report that has one failed attempt. Returns the time of the next attempt, which is in one hour.
async fn retried(world: &World, store: &Store) -> Timestamp {
    let row = delivering(store, world.report("retried")).await;
    let due = world.now().saturating_add(HOUR);
    current(store.settle_report(row.claim, world.attempt(500), Next::RetryAt(due)).await);
    due
}

async fn assert_due_in_an_hour(world: &World, store: &Store) {
    let due = world.now().saturating_add(HOUR);
    let batch = store.claim_reports(9).await.unwrap();
    assert_eq!((batch.rows.len(), batch.next_due), (0, Some(due)));
    assert_eq!(store.deliveries("retried").await.unwrap()[0].next_due, Some(due));
    world.advance(HOUR);
    assert_eq!(store.claim_reports(9).await.unwrap().rows.len(), 1);
}

pub(super) async fn a_clock_set_back_strands_nothing(world: World) {
    let store = world.open().await;
    attach(&store);
    submit(&store, world.request("before")).await;
    retried(&world, &store).await;
    world.jump(-DAY);
    submit(&store, world.request("after")).await;
    assert_eq!(store.claim_requests(9).await.unwrap().rows.len(), 2);
    assert_due_in_an_hour(&world, &store).await;
}

pub(super) async fn a_clock_set_forward_makes_no_retry_due(world: World) {
    let store = world.open().await;
    retried(&world, &store).await;
    world.jump(DAY);
    assert_due_in_an_hour(&world, &store).await;
}

pub(super) async fn rows_keep_their_order_when_the_clock_is_set_back(world: World) {
    let store = world.open().await;
    attach(&store);
    for n in 0..4 {
        submit(&store, world.request(&n.to_string())).await;
        world.jump(-DAY);
        world.advance(Duration::from_millis(1));
    }
    let rows = store.claim_requests(9).await.unwrap().rows;
    assert_eq!(rows.iter().map(|row| row.claim.id.as_str()).collect::<Vec<_>>(), ["0", "1", "2", "3"]);
}

pub(super) async fn what_is_shown_is_the_wall_clock(world: World) {
    let store = world.open().await;
    world.jump(-DAY);
    let claimed = running(&world, &store, "r").await;
    assert_eq!(claimed.created, world.now());
    current(store.settle_request(claimed.claim, world.done(), vec![world.report("r")]).await);
    let RequestState::Settled(outcome) = store.request(&super::world::id("r")).await.unwrap().unwrap().state else {
        panic!("not settled")
    };
    assert_eq!(outcome.finished, world.now());
    let report = store.claim_reports(1).await.unwrap().rows.remove(0);
    assert_eq!(report.created, world.now());
    current(store.settle_report(report.claim, world.attempt(410), Next::Gone { disable: true }).await);
    assert_eq!(store.disabled().await.unwrap()[0].since, world.now());
    // `purge` compares the times of the ended rows with the wall clock. No time has passed, so `purge` deletes nothing.
    assert_eq!(store.purge(world.now(), 9).await.unwrap(), 0);
    world.advance(Duration::from_secs(1));
    assert_eq!(store.purge(world.now(), 9).await.unwrap(), 2);
}

#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(super) mod restarted {
    use super::*;

    pub(crate) async fn with_the_clock_set_back(world: World) {
        let store = world.open().await;
        retried(&world, &store).await;
        store.close().await;
        world.jump(-DAY);
        assert_due_in_an_hour(&world, &world.open().await).await;
    }

    pub(crate) async fn after_the_clock_was_set_back_while_it_ran(world: World) {
        after_a_jump(world, -DAY).await;
    }

    pub(crate) async fn after_the_clock_was_set_forward_while_it_ran(world: World) {
        after_a_jump(world, DAY).await;
    }

    async fn after_a_jump(world: World, jump: i64) {
        let store = world.open().await;
        retried(&world, &store).await;
        world.jump(jump);
        // Every commit stores the times of both clocks, even the commit of a claim that returns no rows.
        assert_eq!(store.claim_reports(1).await.unwrap().rows.len(), 0);
        store.close().await;
        assert_due_in_an_hour(&world, &world.open().await).await;
    }

    pub(crate) async fn after_a_stop_of_an_hour(world: World) {
        let store = world.open().await;
        retried(&world, &store).await;
        store.close().await;
        world.advance(HOUR);
        assert_eq!(world.open().await.claim_reports(9).await.unwrap().rows.len(), 1);
    }
}

const YEAR: i64 = 365 * DAY;
/// How long the store must keep a request or a report after it was finished.
const WEEK: Duration = Duration::from_hours(7 * 24);

/// Writes one request and settles it, and writes one report and delivers it.
async fn ended(world: &World, store: &Store, name: &str) {
    let claimed = running(world, store, name).await;
    current(store.settle_request(claimed.claim, world.done(), vec![]).await);
    let claimed = delivering(store, world.report(name)).await;
    current(store.settle_report(claimed.claim, world.attempt(200), Next::Delivered).await);
}

async fn purged(store: &Store) -> usize {
    store.purge_ended(&WEEK.into(), 100).await.unwrap().deleted
}

pub(super) async fn a_clock_set_forward_for_a_while_deletes_nothing(world: World) {
    let mut store = world.open().await;
    ended(&world, &store, "before").await;
    assert_eq!(purged(&store).await, 0);
    world.jump(YEAR);
    for _ in 0..6 {
        world.advance(24 * HOUR);
        assert_eq!(purged(&store).await, 0);
        // Restarts a durable store. The new process must not trust the wrong wall clock either.
        if store.is_durable() {
            store.close().await;
            store = world.open().await;
        }
    }
    world.jump(-YEAR);
    assert_eq!(purged(&store).await, 0);
    world.advance(25 * HOUR);
    assert_eq!(purged(&store).await, 2);
    // Small changes of the wall clock are normal, so the store trusts the new time immediately.
    ended(&world, &store, "after").await;
    for _ in 0..100 {
        world.jump(30);
        purged(&store).await;
    }
    world.advance(WEEK);
    assert_eq!(purged(&store).await, 2);
}

pub(super) async fn a_clock_set_forward_for_good_is_believed_in_time(world: World) {
    let store = world.open().await;
    // The wall clock is 20 years behind, as on a machine that has just started and does not know the time.
    world.jump(-20 * YEAR);
    assert_eq!(purged(&store).await, 0);
    world.advance(HOUR);
    assert_eq!(purged(&store).await, 0);
    ended(&world, &store, "wrong").await;
    world.jump(25 * YEAR);
    assert_eq!(purged(&store).await, 0);
    ended(&world, &store, "right").await;
    world.advance(WEEK.saturating_sub(HOUR));
    assert_eq!(purged(&store).await, 0);
    world.advance(2 * HOUR);
    assert_eq!(purged(&store).await, 4);
}
