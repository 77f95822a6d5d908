//! How the owners of a route share claims, whose turn it is, and what a full route does to others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::Semaphore;

use super::world::{ROUTE, World, attach, current, id, submit};
use crate::record::{ClaimedRequest, NewRequest};
use crate::share::OWNERS;
use crate::terms::Terms;
use crate::{Cancelled, Load, RouteRoom, Store};
use postback_wire::report::Outcome;

fn of(world: &World, owner: &str, name: &str) -> NewRequest {
    NewRequest { owner: owner.into(), ..world.request(&format!("{owner} {name}")) }
}

async fn many(world: &World, store: &Store, owner: &str, n: usize) {
    for n in 0..n {
        submit(store, of(world, owner, &format!("{n:03}"))).await;
    }
}

fn by_owner(rows: &[ClaimedRequest]) -> BTreeMap<&str, usize> {
    let mut owners = BTreeMap::new();
    for row in rows {
        *owners.entry(&*row.owner).or_default() += 1;
    }
    owners
}

async fn settle(world: &World, store: &Store, rows: Vec<ClaimedRequest>) {
    for row in rows {
        current(store.settle_request(row.claim, world.done(), vec![]).await);
    }
}

pub(super) async fn owners_share_what_is_claimed(world: World) {
    let store = world.open().await;
    for (owner, n) in [("", 20), ("a", 20), ("b", 1)] {
        many(&world, &store, owner, n).await;
    }
    attach(&store);
    let batch = store.claim_requests(11).await.unwrap();
    assert_eq!(by_owner(&batch.rows), BTreeMap::from([("", 5), ("a", 5), ("b", 1)]));
    assert_eq!(batch.next_due, Some(world.now()));
    let ids: Vec<_> = batch.rows.iter().filter(|row| &*row.owner == "a").map(|row| row.claim.id.as_str()).collect();
    assert_eq!(ids, ["a 000", "a 001", "a 002", "a 003", "a 004"]);
    // An owner's share is not a limit: if enough slots are free, a claim returns all waiting requests.
    let batch = store.claim_requests(100).await.unwrap();
    assert_eq!((batch.rows.len(), batch.next_due), (30, None));
}

pub(super) async fn the_owner_with_the_fewest_runs_is_next(world: World) {
    let store = world.open().await;
    attach(&store);
    many(&world, &store, "a", 6).await;
    let running = store.claim_requests(3).await.unwrap().rows;
    many(&world, &store, "b", 6).await;
    // Three requests of `a` run, so the next three are of `b`.
    let rows = store.claim_requests(3).await.unwrap().rows;
    assert_eq!(by_owner(&rows), BTreeMap::from([("b", 3)]));
    settle(&world, &store, running).await;
    let rows = store.claim_requests(3).await.unwrap().rows;
    assert_eq!(by_owner(&rows), BTreeMap::from([("a", 3)]));
}

pub(super) async fn owners_take_turns_at_a_single_slot(world: World) {
    let store = world.open().await;
    many(&world, &store, "a", 50).await;
    world.advance(Duration::from_secs(1));
    many(&world, &store, "b", 2).await;
    attach(&store);
    let mut turns = Vec::new();
    for _ in 0..5 {
        let rows = store.claim_requests(1).await.unwrap().rows;
        turns.extend(rows.iter().map(|row| row.owner.to_string()));
        settle(&world, &store, rows).await;
    }
    assert_eq!(turns, ["a", "b", "a", "b", "a"]);
}

pub(super) async fn each_of_many_owners_has_its_turn(world: World) {
    let store = world.open().await;
    let owners = 3 * OWNERS + 1;
    for n in 0..owners {
        many(&world, &store, &format!("{n:03}"), 2).await;
    }
    attach(&store);
    let mut served = BTreeSet::new();
    for _ in 0..owners {
        let rows = store.claim_requests(1).await.unwrap().rows;
        assert!(served.insert(rows[0].owner.to_string()), "{} had a turn before others", rows[0].owner);
        settle(&world, &store, rows).await;
    }
    // One claim of many slots serves more owners than it looks at together.
    let rows = store.claim_requests(owners).await.unwrap().rows;
    assert_eq!(rows.len(), owners);
    assert!(by_owner(&rows).into_values().max() <= Some(2) && by_owner(&rows).len() > OWNERS, "{:?}", by_owner(&rows));
    settle(&world, &store, rows).await;
    assert_eq!(store.claim_requests(1).await.unwrap().next_due, None);
}

pub(super) async fn routes_take_turns_at_a_single_slot(world: World) {
    let store = world.open().await;
    for n in 0..9 {
        submit(&store, NewRequest { route: "/long".into(), ..world.request(&format!("long {n}")) }).await;
    }
    world.advance(Duration::from_secs(1));
    submit(&store, NewRequest { route: "/short".into(), ..world.request("short") }).await;
    let routes = ["/long", "/short"].map(str::to_owned);
    drop(store.attach_requests(routes.to_vec(), Arc::new(Semaphore::new(0))));
    let first = store.claim_requests(1).await.unwrap().rows;
    settle(&world, &store, first).await;
    assert_eq!(store.claim_requests(1).await.unwrap().rows[0].route, "/short");
}

pub(super) async fn the_highest_priority_of_an_owner_is_first(world: World) {
    let store = world.open().await;
    for (owner, name, priority) in [("a", "low", -5), ("a", "usual", 0), ("a", "high", 100), ("b", "usual", 0)] {
        let terms = Terms { priority, ..Terms::default() };
        submit(&store, NewRequest { terms, ..of(&world, owner, name) }).await;
    }
    attach(&store);
    let mut ids = Vec::new();
    for _ in 0..4 {
        let row = store.claim_requests(1).await.unwrap().rows.remove(0);
        ids.push(row.claim.id.to_string());
        settle(&world, &store, vec![row]).await;
    }
    // The priority of one owner gives it no turn of another owner.
    assert_eq!(ids, ["a high", "b usual", "a usual", "a low"]);
}

pub(super) async fn a_claim_of_many_owners_is_bounded_by_bytes(world: World) {
    let store = world.open().await;
    for owner in ["a", "b", "c", "d"] {
        for n in 0..2 {
            let body = vec![7; 3 << 20].into();
            submit(&store, NewRequest { body, ..of(&world, owner, &n.to_string()) }).await;
        }
    }
    attach(&store);
    let mut claims = Vec::new();
    while claims.iter().sum::<usize>() < 8 {
        let batch = store.claim_requests(6).await.unwrap();
        claims.push(batch.rows.len());
    }
    assert_eq!(claims, [2; 4]);
    assert_eq!(store.claim_requests(6).await.unwrap().next_due, None);
}

pub(super) async fn an_owner_that_a_claim_skips_is_first_next_time(world: World) {
    let store = world.open().await;
    let large = |owner, name| NewRequest { body: vec![7; 5 << 20].into(), ..of(&world, owner, name) };
    for new in [large("a", "1"), large("a", "2"), large("b", "1"), of(&world, "c", "1")] {
        submit(&store, new).await;
    }
    attach(&store);
    // The request of `b` is too large for a claim that has one of `a`. The one of `c` is small.
    let rows = store.claim_requests(9).await.unwrap().rows;
    assert!(by_owner(&rows).contains_key("a") && !by_owner(&rows).contains_key("b"), "{:?}", by_owner(&rows));
    settle(&world, &store, rows).await;
    let rows = store.claim_requests(1).await.unwrap().rows;
    assert_eq!(by_owner(&rows), BTreeMap::from([("b", 1)]));
}

pub(super) async fn waiting_requests_of_an_owner_can_be_cancelled_and_put_back(world: World) {
    let store = world.open().await;
    many(&world, &store, "a", 2).await;
    many(&world, &store, "b", 1).await;
    attach(&store);
    let end = |_, _| (Outcome::cancelled(world.now()), vec![]);
    assert!(matches!(store.cancel(&id("b 000"), ROUTE, None, end).await.unwrap(), Cancelled::AtOnce(_)));
    let rows = store.claim_requests(9).await.unwrap().rows;
    assert_eq!(by_owner(&rows), BTreeMap::from([("a", 2)]));
    let due = world.now().saturating_add(Duration::from_secs(5));
    for row in rows {
        current(store.retry_request(row.claim, due, None).await);
    }
    let batch = store.claim_requests(9).await.unwrap();
    assert_eq!((batch.rows.len(), batch.next_due), (0, Some(due)));
    world.advance(Duration::from_secs(5));
    assert_eq!(by_owner(&store.claim_requests(9).await.unwrap().rows), BTreeMap::from([("a", 2)]));
}

fn limited(most: Option<usize>) -> RouteRoom {
    RouteRoom::new(most, Arc::default())
}

pub(super) async fn a_full_route_waits_and_holds_up_no_other(world: World) {
    let store = world.open().await;
    let rooms = [("/full".to_owned(), limited(Some(1))), (ROUTE.to_owned(), limited(None))];
    let slots = Arc::new(Semaphore::new(10));
    let mut handed = store.attach_limited_requests(rooms.to_vec(), slots.clone());
    let full = |n: u8| NewRequest { route: "/full".into(), ..world.request(&format!("full {n}")) };
    for n in 0..3 {
        submit(&store, full(n)).await;
    }
    let first = handed.recv().await.unwrap();
    assert_eq!(first.row.claim.id.as_str(), "full 0");
    assert!(handed.recv().now_or_never().is_none(), "the route is full");
    // Requests of the full route wait, and those of the other route are still pre-claimed.
    submit(&store, world.request("other")).await;
    let other = handed.recv().await.unwrap();
    assert_eq!((other.row.claim.id.as_str(), slots.available_permits()), ("other", 8));

    let load = |route: &str| Load { free: if route == "/full" { 0 } else { 9 }, running: 0 };
    let batch = store.claim_requests_beside(9, load, true).await.unwrap();
    assert_eq!((batch.rows.len(), batch.next_due), (0, None), "no claim can change that");
    submit(&store, world.request("another")).await;
    assert!(handed.recv().await.is_some());
    // The route has room again. Its oldest request is claimed before a newer one is handed over.
    drop(first);
    submit(&store, full(3)).await;
    submit(&store, world.request("waits too")).await;
    assert!(handed.recv().now_or_never().is_none());
    let load = |route: &str| Load { free: if route == "/full" { 1 } else { 9 }, running: 0 };
    let batch = store.claim_requests_beside(9, load, true).await.unwrap();
    let mut ids: Vec<_> = batch.rows.iter().map(|row| row.claim.id.as_str()).collect();
    ids.sort_unstable();
    assert_eq!((ids, batch.next_due), (vec!["full 1", "waits too"], None));
}
