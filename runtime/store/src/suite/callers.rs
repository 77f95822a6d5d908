//! Who made a request, under which terms, with which idempotency key, and what has happened to the request.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use http::HeaderValue;

use super::world::{ROUTE, World, attach, current, id, running, submit};
use crate::record::{NewRequest, Submitted};
use crate::summary::Stage;
use crate::terms::{Extras, IdempotencyKey, Terms};
use crate::timeline::{EarlierRun, RUNS, RunEnd};
use crate::{Cancelled, Error, OwnerLimits};
use postback_wire::names::header::QUERY;
use postback_wire::report::Outcome;

fn owned(world: &World, name: &str, owner: &str) -> NewRequest {
    let extras = Extras { metadata: Some("7".into()), webhook: Some("https://a.example/".into()), ..Extras::default() };
    NewRequest { owner: owner.into(), extras: extras.shared(), ..world.request(name) }
}

fn keyed(world: &World, name: &str, key: &str) -> NewRequest {
    with_key(owned(world, name, "a"), key)
}

fn with_key(request: NewRequest, key: &str) -> NewRequest {
    NewRequest { idempotency: Some(IdempotencyKey::new(&request.owner, &request.route, key)), ..request }
}

/// The same request with another body.
fn other_body(request: NewRequest) -> NewRequest {
    NewRequest { body: "[8]".into(), ..request }
}

/// The same request with another query.
fn with_query(mut request: NewRequest, query: &'static str) -> NewRequest {
    request.headers.insert(QUERY, HeaderValue::from_static(query));
    request
}

pub(super) async fn a_request_with_another_query_is_another_one(world: World) {
    let (store, faults) = world.open_faulty().await;
    let chosen = |query| with_query(NewRequest { chosen_id: true, ..owned(&world, "1", "a") }, query);
    submit(&store, chosen("lang=en")).await;
    assert_eq!(store.submit(chosen("lang=en")).await.unwrap(), Submitted::Known);
    assert_eq!(store.submit(chosen("lang=fr")).await.unwrap(), Submitted::Conflict);
    assert_eq!(store.submit(owned(&world, "1", "a")).await.unwrap(), Submitted::Conflict, "no query is another one");
    let of_key = |name: &str, query| with_query(keyed(&world, name, "k"), query);
    submit(&store, of_key("2", "lang=en")).await;
    assert_eq!(store.submit(of_key("3", "lang=en")).await.unwrap(), Submitted::Repeated(id("2")));
    assert_eq!(store.submit(of_key("4", "lang=fr")).await.unwrap(), Submitted::KeyReused);
    assert_eq!(store.submit(keyed(&world, "5", "k")).await.unwrap(), Submitted::KeyReused);
    // In one batch, too.
    faults.hold();
    store.post(vec![world.report("x")]).unwrap();
    faults.held().await;
    let of_batch = |name: &str, query| with_query(keyed(&world, name, "l"), query);
    let mut all: Vec<_> = [("6", "a=1"), ("7", "a=1"), ("8", "a=2")]
        .map(|(name, query)| Box::pin(store.submit(of_batch(name, query))))
        .into_iter()
        .collect();
    for one in &mut all {
        assert!(tokio::task::unconstrained(one).now_or_never().is_none());
    }
    faults.release();
    let all: Vec<_> = join_all(all).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(all, [Submitted::New, Submitted::Repeated(id("6")), Submitted::KeyReused]);
    // A store that takes nothing new says the same.
    store.limit_requests(1, 1 << 20);
    assert_eq!(store.submit(chosen("lang=en")).await.unwrap(), Submitted::Known);
    assert_eq!(store.submit(chosen("lang=fr")).await.unwrap(), Submitted::Conflict);
    assert_eq!(store.submit(of_key("9", "lang=en")).await.unwrap(), Submitted::Repeated(id("2")));
    assert_eq!(store.submit(of_key("9", "lang=fr")).await.unwrap(), Submitted::KeyReused);
}

pub(super) async fn a_request_keeps_its_owner_and_its_extras(world: World) {
    let store = world.open().await;
    submit(&store, owned(&world, "r", "a")).await;
    assert_eq!(&*store.request(&id("r")).await.unwrap().unwrap().owner, "a");
    let summary = store.summary(&id("r")).await.unwrap().unwrap();
    assert_eq!((&*summary.owner, summary.extras), ("a", owned(&world, "", "").extras));
    assert_eq!(store.submit(owned(&world, "r", "a")).await.unwrap(), Submitted::Known);
    assert_eq!(store.submit(owned(&world, "r", "b")).await.unwrap(), Submitted::Conflict);
    let r = id("r");
    let cancel = store.cancel(&r, ROUTE, Some("b"), |_, _| panic!("it is not theirs"));
    assert_eq!(cancel.await.unwrap(), Cancelled::Unknown);
    attach(&store);
    let row = store.claim_requests(1).await.unwrap().rows.remove(0);
    assert_eq!((&*row.owner, row.extras.clone()), ("a", owned(&world, "", "").extras));
    current(store.put_back_request(row.claim).await);
    let end = |_, extras| {
        assert_eq!(extras, owned(&world, "", "").extras);
        (Outcome::cancelled(world.now()), vec![])
    };
    assert!(matches!(store.cancel(&r, ROUTE, Some("a"), end).await.unwrap(), Cancelled::AtOnce(_)));
}

pub(super) async fn an_idempotency_key_makes_one_request(world: World) {
    let store = world.open().await;
    submit(&store, keyed(&world, "1", "k")).await;
    assert_eq!(store.submit(keyed(&world, "2", "k")).await.unwrap(), Submitted::Repeated(id("1")));
    assert_eq!(store.submit(other_body(keyed(&world, "3", "k"))).await.unwrap(), Submitted::KeyReused);
    assert!(store.request(&id("2")).await.unwrap().is_none() && store.request(&id("3")).await.unwrap().is_none());
    for other in [
        with_key(owned(&world, "4", "b"), "k"),
        with_key(NewRequest { route: "/b".into(), ..owned(&world, "5", "a") }, "k"),
        keyed(&world, "6", "K"),
    ] {
        assert_eq!(store.submit(other).await.unwrap(), Submitted::New);
    }
    assert_eq!(store.backlog().count().rows, 4);
}

pub(super) async fn a_known_id_takes_no_key_from_others(world: World) {
    let (store, faults) = world.open_faulty().await;
    submit(&store, NewRequest { owner: "b".into(), ..world.request("1") }).await;
    submit(&store, owned(&world, "2", "a")).await;
    faults.hold();
    store.post(vec![world.report("x")]).unwrap();
    faults.held().await;
    // The id of the first request belongs to `b`, so the next request of the batch gets the key.
    let mut all: Vec<_> = [("1", "k"), ("3", "k"), ("2", "l"), ("4", "l")]
        .map(|(name, key)| Box::pin(store.submit(keyed(&world, name, key))))
        .into_iter()
        .collect();
    for one in &mut all {
        assert!(tokio::task::unconstrained(one).now_or_never().is_none());
    }
    faults.release();
    let all: Vec<_> = join_all(all).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(all, [Submitted::Conflict, Submitted::New, Submitted::Known, Submitted::Repeated(id("2"))]);
    assert_eq!(faults.sizes().last(), Some(&4));
    let again = async |name, key| store.submit(keyed(&world, name, key)).await.unwrap();
    assert_eq!(again("5", "k").await, Submitted::Repeated(id("3")));
    assert_eq!(again("6", "l").await, Submitted::Repeated(id("2")), "a known request keeps the key");
    // A request has one key, however many come with its id.
    assert_eq!(again("2", "m").await, Submitted::Known);
    assert_eq!(again("7", "m").await, Submitted::New);
    assert_eq!(again("2", "k").await, Submitted::Known);
    assert_eq!(store.submit(other_body(keyed(&world, "8", "k"))).await.unwrap(), Submitted::KeyReused);
}

pub(super) async fn a_repeated_request_is_not_refused(mut world: World) {
    world.options.max_queued = 1;
    let store = world.open().await;
    submit(&store, keyed(&world, "1", "k")).await;
    let chosen = |name: &str| NewRequest { chosen_id: true, ..owned(&world, name, "a") };
    let no_more = OwnerLimits { rows: Some(1), bytes: None };
    for limits in [OwnerLimits::default(), no_more] {
        let again = async |request| store.submit_within(request, limits).await;
        assert_eq!(again(keyed(&world, "2", "k")).await.unwrap(), Submitted::Repeated(id("1")));
        assert_eq!(again(other_body(keyed(&world, "3", "k"))).await.unwrap(), Submitted::KeyReused);
        assert_eq!(again(chosen("1")).await.unwrap(), Submitted::Known);
        assert_eq!(again(NewRequest { body: "[]".into(), ..chosen("1") }).await.unwrap(), Submitted::Conflict);
        for new in [keyed(&world, "4", "other"), chosen("5"), owned(&world, "6", "a")] {
            assert!(matches!(again(new).await, Err(Error::Refused(_))));
        }
        // The second time, only the bound of the owner refuses.
        store.limit_requests(100, 1 << 20);
    }
    assert_eq!(store.backlog().count().rows, 1);
}

pub(super) async fn of_many_calls_at_once_with_one_key_one_is_accepted(world: World) {
    let store = world.open().await;
    let names: Vec<_> = (0..20).map(|n| n.to_string()).collect();
    let all = join_all(names.iter().map(|name| store.submit(keyed(&world, name, "k")))).await;
    let all: Vec<_> = all.into_iter().map(Result::unwrap).collect();
    let new: Vec<_> = names.iter().zip(&all).filter(|(_, answer)| **answer == Submitted::New).collect();
    assert_eq!(new.len(), 1, "{all:?}");
    let winner = Submitted::Repeated(id(new[0].0));
    assert_eq!(all.iter().filter(|answer| **answer == winner).count(), 19, "{all:?}");
    assert_eq!(store.backlog().count().rows, 1);
}

pub(super) async fn a_key_lives_as_long_as_its_request(world: World) {
    let store = world.open().await;
    submit(&store, keyed(&world, "1", "k")).await;
    attach(&store);
    let claim = store.claim_requests(1).await.unwrap().rows.remove(0).claim;
    current(store.settle_request(claim, world.done(), vec![]).await);
    assert_eq!(store.submit(keyed(&world, "2", "k")).await.unwrap(), Submitted::Repeated(id("1")));
    world.advance(Duration::from_secs(1));
    assert_eq!(store.purge(world.now(), 10).await.unwrap(), 1);
    assert_eq!(store.submit(other_body(keyed(&world, "3", "k"))).await.unwrap(), Submitted::New);
}

pub(super) async fn a_delayed_request_waits_for_its_time(world: World) {
    let store = world.open().await;
    let room = std::sync::Arc::new(tokio::sync::Semaphore::new(10));
    let mut channel = store.attach_requests(vec![ROUTE.into()], room);
    let terms =
        Terms { run_at: Some(world.now().saturating_add(Duration::from_mins(1))), priority: -3, ..Terms::default() };
    let timeout = Some(Duration::from_secs(5));
    submit(&store, NewRequest { terms: Terms { timeout, ..terms }, ..world.request("later") }).await;
    assert!(channel.recv().now_or_never().is_none(), "it is not due");
    let batch = store.claim_requests(10).await.unwrap();
    assert!(batch.rows.is_empty());
    assert_eq!(batch.next_due, Some(world.now().saturating_add(Duration::from_mins(1))));
    world.advance(Duration::from_mins(1));
    let rows = store.claim_requests(10).await.unwrap().rows;
    assert_eq!(rows.iter().map(|row| row.claim.id.as_str()).collect::<Vec<_>>(), ["later"]);
    assert_eq!((rows[0].terms.priority, rows[0].terms.timeout), (-3, timeout));
}

pub(super) async fn the_timeline_has_every_run(world: World) {
    let store = world.open().await;
    let created = world.now();
    submit(&store, world.request("r")).await;
    let waits = store.timeline(&id("r")).await.unwrap().unwrap();
    assert_eq!((waits.created, waits.started, waits.runs.len()), (created, None, 0));
    attach(&store);
    let mut expected = Vec::new();
    for (end, detail) in [(RunEnd::Failed, Some("no model".to_owned())), (RunEnd::PutBack, None)] {
        world.advance(Duration::from_secs(1));
        let started = world.now();
        let claim = store.claim_requests(1).await.unwrap().rows.remove(0).claim;
        world.advance(Duration::from_secs(1));
        let epoch = claim.epoch;
        let released = match end {
            RunEnd::Failed => store.retry_request(claim, world.now(), detail.clone()).await,
            RunEnd::PutBack | RunEnd::Lost => store.put_back_request(claim).await,
        };
        current(released);
        expected.push(EarlierRun { epoch, started, ended: world.now(), end, detail });
    }
    let started = world.now();
    let claim = store.claim_requests(1).await.unwrap().rows.remove(0).claim;
    let runs = store.timeline(&id("r")).await.unwrap().unwrap();
    assert_eq!((&runs.runs, runs.started), (&expected, Some(started)));
    assert!(matches!(runs.summary.stage, Stage::Running));
    world.advance(Duration::from_secs(1));
    current(store.settle_request(claim, world.done(), vec![]).await);
    let over = store.timeline(&id("r")).await.unwrap().unwrap();
    assert_eq!((&over.runs, over.started, over.epoch), (&expected, Some(started), 3));
    assert!(over.summary.is_settled());
    assert!(store.timeline(&id("other")).await.unwrap().is_none());
    world.advance(Duration::from_secs(1));
    assert_eq!(store.purge(world.now(), 10).await.unwrap(), 1);
    submit(&store, world.request("r")).await;
    assert!(store.timeline(&id("r")).await.unwrap().unwrap().runs.is_empty());
}

pub(super) async fn a_timeline_has_the_last_runs(world: World) {
    let store = world.open().await;
    attach(&store);
    submit(&store, world.request("r")).await;
    for _ in 0..RUNS + 3 {
        let claim = store.claim_requests(1).await.unwrap().rows.remove(0).claim;
        current(store.retry_request(claim, world.now(), None).await);
    }
    let runs = store.timeline(&id("r")).await.unwrap().unwrap().runs;
    let epochs: Vec<_> = runs.iter().map(|run| run.epoch as usize).collect();
    assert_eq!(epochs, (4..=RUNS + 3).collect::<Vec<_>>());
}

pub(super) async fn a_watch_sees_every_change_of_status(world: World) {
    let store = world.open().await;
    submit(&store, world.request("r")).await;
    attach(&store);
    let watch = store.watch(&id("r"));
    let change = watch.change();
    let claim = store.claim_requests(1).await.unwrap().rows.remove(0).claim;
    change.await;
    assert!(watch.change().now_or_never().is_none() && watch.settled().now_or_never().is_none());
    let change = watch.change();
    current(store.put_back_request(claim).await);
    change.await;
    let change = watch.change();
    let claim = store.claim_requests(1).await.unwrap().rows.remove(0).claim;
    change.await;
    let change = watch.change();
    current(store.settle_request(claim, world.done(), vec![]).await);
    change.await;
    watch.change().await;
    watch.settled().await;
    let other = store.watch(&id("s"));
    let claimed = running(&world, &store, "other").await;
    assert!(other.change().now_or_never().is_none());
    current(store.settle_request(claimed.claim, world.done(), vec![]).await);
}
