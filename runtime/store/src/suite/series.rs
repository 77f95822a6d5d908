//! The figures of each minute: counted in memory, added up in the store, and deleted when they are old.

use std::sync::Arc;
use std::time::Duration;

use super::world::{ROUTE, World, attach, current, delivering, running, submit};
use crate::Store;
use crate::ops::Op;
use crate::record::Next;
use crate::retention::Retention;
use crate::series::{Figures, MOST_LISTED, OTHER, Row, Scope, Step, Waiting, keep};
use crate::shutdown::Shutdown;
use postback_wire::time::Timestamp;

const MINUTE: Duration = Duration::from_mins(1);
const TEN: Duration = Duration::from_mins(10);
const ORIGIN: &str = "https://example.com";

fn route() -> Scope {
    Scope::Route(ROUTE.into())
}

fn accepted(scope: Scope, accepted: u64) -> Row {
    Row { scope, figures: Figures { accepted, ..Figures::default() } }
}

async fn add(store: &Store, minute: Timestamp, rows: Vec<Row>) {
    store.add_figures(minute, Arc::from(rows)).await.unwrap();
}

/// Returns the number of accepted requests of each stretch since `ago`.
async fn read(store: &Store, scope: &Scope, ago: Duration, stretch: Duration) -> Vec<u64> {
    let from = store.wall().saturating_sub(ago);
    let series = store.series(scope, from, stretch).await.unwrap();
    series.into_values().map(|figures| figures.accepted).collect()
}

pub(super) async fn figures_of_a_minute_are_added_up(world: World) {
    let store = world.open().await;
    let first = world.now();
    add(&store, first, vec![accepted(Scope::All, 1), accepted(route(), 1)]).await;
    add(&store, first, vec![accepted(Scope::All, 2), accepted(Scope::Origin(ORIGIN.into()), 4)]).await;
    add(&store, first.saturating_add(MINUTE), vec![accepted(Scope::All, 8)]).await;
    world.advance(MINUTE * 2);
    assert_eq!(read(&store, &Scope::All, MINUTE * 2, MINUTE).await, [3, 8]);
    assert_eq!(read(&store, &Scope::All, MINUTE, MINUTE).await, [8]);
    assert_eq!(read(&store, &Scope::All, TEN, TEN).await, [11]);
    assert_eq!(read(&store, &route(), MINUTE * 2, MINUTE).await, [1]);
    assert_eq!(read(&store, &Scope::Origin(ORIGIN.into()), TEN, TEN).await, [4]);
    assert!(read(&store, &Scope::Route(ORIGIN.into()), TEN, MINUTE).await.is_empty());
    let names = store.series_names().await.unwrap();
    assert_eq!((names.routes, names.origins), (vec![ROUTE.to_owned()], vec![ORIGIN.to_owned()]));
    let many = (0..MOST_LISTED + 5).map(|n| accepted(Scope::Route(format!("/{n}").into()), 1)).collect();
    add(&store, first, many).await;
    assert_eq!(store.series_names().await.unwrap().routes.len(), MOST_LISTED);
}

pub(super) async fn what_happens_is_counted_by_route_and_in_all(world: World) {
    let store = world.open().await;
    store.tally().begin();
    let done = running(&world, &store, "a").await;
    submit(&store, world.request("b")).await;
    current(store.settle_request(done.claim, world.done(), vec![]).await);
    store
        .cancel(&"b".parse().unwrap(), ROUTE, None, |_, _| {
            (postback_wire::report::Outcome::cancelled(world.now()), vec![])
        })
        .await
        .unwrap();
    store.tally().ran(ROUTE, Duration::from_millis(7));
    store.tally().delivered(ORIGIN, Duration::from_secs(1));
    store.tally().attempt_failed(ORIGIN);
    store.tally().dead(ORIGIN);
    // A caller has its answer before what it did is counted, and a barrier is answered after that.
    store.barrier().await.unwrap();
    // What is not written yet is seen.
    for written in [false, true] {
        if written {
            let waits = Some((store.counts().await.unwrap(), store.waits().await.unwrap()));
            store.keep_minute(world.now(), waits).await.unwrap();
        }
        let now = async |scope| store.series(&scope, world.now(), MINUTE).await.unwrap().pop_first().unwrap().1;
        let (all, of_route, of_origin) =
            (now(Scope::All).await, now(route()).await, now(Scope::Origin(ORIGIN.into())).await);
        for figures in [&all, &of_route] {
            assert_eq!((figures.accepted, figures.completed, figures.cancelled, figures.failed), (2, 1, 1, 0));
            assert_eq!(figures.runs.count(), 1);
        }
        for figures in [&all, &of_origin] {
            assert_eq!((figures.delivered, figures.failed_attempts, figures.dead), (1, 1, 1));
            assert_eq!(figures.deliveries.mean(), Some(Duration::from_secs(1)));
        }
        assert_eq!((of_route.delivered, of_origin.accepted), (0, 0));
        assert_eq!(all.waiting.queued, written.then_some(0), "{written}");
    }
    // Nothing counts twice.
    store.keep_minute(world.now(), None).await.unwrap();
    assert_eq!(read(&store, &Scope::All, MINUTE, TEN).await, [2]);
}

pub(super) async fn what_waits_is_kept_with_the_minute(world: World) {
    let store = world.open().await;
    store.tally().begin();
    attach(&store);
    submit(&store, world.request("a")).await;
    submit(&store, world.request("b")).await;
    world.advance(Duration::from_secs(3));
    let claimed = delivering(&store, world.report("x")).await;
    let waits = Some((store.counts().await.unwrap(), store.waits().await.unwrap()));
    store.keep_minute(world.now(), waits).await.unwrap();
    current(store.settle_report(claimed.claim, world.attempt(204), Next::Delivered).await);
    let all = store.series(&Scope::All, world.now(), MINUTE).await.unwrap().pop_first().unwrap().1;
    let expected = Waiting {
        queued: Some(2),
        running: Some(0),
        undelivered: Some(1),
        oldest_request_ms: Some(3_000),
        oldest_delivery_ms: Some(0),
    };
    assert_eq!(all.waiting, expected);
    let of_route = store.series(&route(), world.now(), MINUTE).await.unwrap().pop_first().unwrap().1;
    let expected = Waiting { queued: Some(2), oldest_request_ms: Some(3_000), ..Waiting::default() };
    assert_eq!(of_route.waiting, expected);
}

pub(super) async fn figures_that_cannot_be_written_wait_for_the_next_minute(world: World) {
    let (store, faults) = world.open_faulty().await;
    store.tally().begin();
    store.tally().ran(ROUTE, MINUTE);
    faults.refuse(|op| matches!(op, Op::AddFigures(_)));
    assert!(store.keep_minute(world.now(), None).await.is_err());
    assert_eq!(store.series(&Scope::All, world.now(), MINUTE).await.unwrap().len(), 1, "the figures are in memory");
    faults.refuse(|_| false);
    world.advance(MINUTE);
    store.tally().ran(ROUTE, MINUTE);
    store.keep_minute(world.now(), None).await.unwrap();
    for scope in [Scope::All, route()] {
        let series = store.series(&scope, world.now().saturating_sub(TEN), MINUTE).await.unwrap();
        assert_eq!(series.values().map(|figures| figures.runs.count()).collect::<Vec<_>>(), [2]);
    }
}

pub(super) async fn old_figures_are_purged_in_batches(world: World) {
    let store = world.open().await;
    let all = |n| vec![accepted(Scope::All, n), accepted(Scope::Origin(OTHER.into()), n)];
    add(&store, world.now(), all(1)).await;
    world.advance(TEN);
    add(&store, world.now(), all(2)).await;
    let purge = async || {
        let mut batches = 1;
        while store.purge_ended(&Retention::from(MINUTE), 1).await.unwrap().more {
            batches += 1;
        }
        batches
    };
    let kept = async |step: Step, stretch| {
        let from = store.wall().saturating_sub(step.kept() + TEN + MINUTE);
        let reader = store.0.reader.series(&Scope::All, step, from, store.wall()).await.unwrap();
        let series = store.series(&Scope::All, from, stretch).await.unwrap();
        (reader.len(), series.values().map(|figures| figures.accepted).sum::<u64>())
    };
    world.advance(Step::Minute.kept().saturating_sub(MINUTE * 5));
    assert!(purge().await >= 2, "a batch has one row");
    assert_eq!(kept(Step::Minute, MINUTE).await, (1, 2));
    assert_eq!(kept(Step::TenMinutes, TEN).await, (2, 3));
    world.advance(Step::TenMinutes.kept().saturating_sub(Step::Minute.kept()));
    purge().await;
    assert_eq!(kept(Step::Minute, MINUTE).await, (0, 0));
    assert_eq!(kept(Step::TenMinutes, TEN).await, (1, 2));
    world.advance(TEN * 2);
    purge().await;
    assert_eq!(kept(Step::TenMinutes, TEN).await, (0, 0));
    assert!(store.series_names().await.unwrap().origins.is_empty());
}

pub(super) async fn a_stop_writes_the_minute_that_has_begun(world: World) {
    let store = world.open().await;
    let stop = Shutdown::new();
    let task = stop.spawn(keep(store.clone(), stop.clone()));
    // The task begins to count when it first runs.
    while !store.tally().is_counting() {
        tokio::task::yield_now().await;
    }
    store.tally().attempt_failed(ORIGIN);
    stop.stop();
    task.await.unwrap();
    assert_eq!(store.tally().peek(&Scope::All), None);
    let series = store.series(&Scope::All, world.now(), MINUTE).await.unwrap();
    let figures = &series[&world.now()];
    assert_eq!((figures.failed_attempts, figures.waiting.queued), (1, Some(0)));
    // A closed store is no reason to go on.
    let stop = Shutdown::new();
    store.close().await;
    stop.stop();
    stop.spawn(keep(store, stop.clone())).await.unwrap();
}

#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(super) async fn figures_survive_a_restart(world: World) {
    for n in 1..=2 {
        let store = world.open().await;
        store.tally().begin();
        store.tally().dead(ORIGIN);
        store.keep_minute(world.now(), None).await.unwrap();
        for (scope, stretch) in [(Scope::All, MINUTE), (Scope::Origin(ORIGIN.into()), TEN)] {
            let series = store.series(&scope, world.now(), stretch).await.unwrap();
            assert_eq!(series.values().map(|figures| figures.dead).collect::<Vec<_>>(), [n]);
        }
        store.close().await;
    }
}
