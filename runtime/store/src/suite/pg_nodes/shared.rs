//! What nodes share: ends, work, cancels, keys, disabled URLs and bounds.

use std::sync::Arc;
use std::time::Duration;

use super::{Node, until};
use crate::record::{NewRequest, RequestState, Submitted};
use crate::series::{Figures, Row, Scope, Waiting, begin_of};
use crate::suite::world::{ROUTE, World, current, delivering, id, submit};
use crate::{Cancelled, IdempotencyKey, Next, OwnerLimits};
use postback_wire::report::Outcome;

#[test]
#[ignore = "needs PostgreSQL; run it with --include-ignored"]
pub(super) fn an_end_on_another_node_is_heard() {
    let world = World::postgres();
    let (a, b) = (Node::start(&world), Node::start(&world));
    // Both nodes know of each other.
    a.beat();
    b.beat();
    let watch = b.go(async |store| {
        submit(store, world.request("r")).await;
        store.watch(&id("r"))
    });
    let row = a.claim_one();
    let settling = std::thread::spawn({
        let (outcome, claim) = (world.done(), row.claim);
        move || {
            a.go(async |store| current(store.settle_request(claim, outcome, vec![]).await));
            a
        }
    });
    b.go(async |store| {
        watch.settled().await;
        assert!(matches!(store.request(&id("r")).await.unwrap().unwrap().state, RequestState::Settled(_)));
    });
    drop(settling.join().unwrap());
}

#[test]
#[ignore = "needs PostgreSQL; run it with --include-ignored"]
fn work_of_another_node_is_heard() {
    let world = World::postgres();
    let (a, b) = (Node::start(&world), Node::start(&world));
    a.beat();
    b.beat();
    // Signals of the start are over when a claim has found nothing after them.
    assert!(b.claim(1).is_empty());
    a.go(async |store| {
        submit(store, world.request("r")).await;
        store.post_durably(vec![world.report("x")]).await.unwrap();
    });
    b.go(async |store| {
        until(async || {
            store.requests_due().await;
            !store.claim_requests(1).await.unwrap().rows.is_empty()
        })
        .await;
        until(async || {
            store.reports_due().await;
            !store.claim_reports(1).await.unwrap().rows.is_empty()
        })
        .await;
    });
}

#[test]
#[ignore = "needs PostgreSQL; run it with --include-ignored"]
pub(super) fn a_cancel_reaches_the_node_that_runs_the_request() {
    let world = World::postgres();
    let (a, b) = (Node::start(&world), Node::start(&world));
    b.go(async |store| submit(store, world.request("r")).await);
    let row = a.claim_one();
    let token = a.go(async |store| store.cancellation(&row.claim));
    let end = |_, _| (Outcome::cancelled(world.now()), vec![]);
    b.go(async |store| {
        let cancelled = store.cancel(&id("r"), ROUTE, None, end).await.unwrap();
        assert_eq!(cancelled, Cancelled::Stopping);
    });
    a.go(async |_| token.cancelled().await);
    // A request that waits is cancelled by any node.
    a.go(async |store| submit(store, world.request("s")).await);
    b.go(async |store| {
        let cancelled = store.cancel(&id("s"), ROUTE, None, end).await.unwrap();
        assert!(matches!(cancelled, Cancelled::AtOnce(_)), "{cancelled:?}");
    });
}

#[test]
#[ignore = "needs PostgreSQL; run it with --include-ignored"]
fn a_key_makes_one_request_however_many_nodes_get_it() {
    let world = World::postgres();
    let keyed = |name: &str| {
        let request = NewRequest { owner: "a".into(), ..world.request(name) };
        NewRequest { idempotency: Some(IdempotencyKey::new("a", &request.route, "key")), ..request }
    };
    let (a, b) = (Node::start(&world), Node::start(&world));
    for round in 0..20 {
        let names = [format!("{round} a"), format!("{round} b")];
        let requests = names.clone().map(|name| {
            let request = keyed(&name);
            let key = IdempotencyKey::new("a", &request.route, &round.to_string());
            NewRequest { idempotency: Some(key), ..request }
        });
        let [first, second] = requests;
        let answers = std::thread::scope(|scope| {
            let of_a = scope.spawn(|| a.go(async |store| store.submit(first).await.unwrap()));
            let of_b = scope.spawn(|| b.go(async |store| store.submit(second).await.unwrap()));
            [of_a.join().unwrap(), of_b.join().unwrap()]
        });
        let new = answers.iter().position(|answer| *answer == Submitted::New).expect("one is new");
        assert_eq!(answers[1 - new], Submitted::Repeated(id(&names[new])));
    }
}

#[test]
#[ignore = "needs PostgreSQL; run it with --include-ignored"]
fn a_url_that_one_node_disables_is_disabled_on_all() {
    let world = World::postgres();
    let (a, b) = (Node::start(&world), Node::start(&world));
    let url = "https://example.com/hooks";
    // After this, each node has seen the empty list.
    let other = "https://example.com/other";
    b.go(async |store| store.disable(other, "as the test says").await.unwrap());
    a.go(async |store| until(async || store.is_disabled(other)).await);
    b.go(async |store| store.enable(other).await.unwrap());
    a.go(async |store| until(async || !store.is_disabled(other)).await);
    a.go(async |store| {
        let row = delivering(store, world.report("x")).await;
        let gone = Next::Gone { disable: true };
        let _ = store.settle_report(row.claim, world.attempt(410), gone).await.unwrap();
        assert!(store.is_disabled(url));
    });
    b.go(async |store| until(async || store.is_disabled(url)).await);
    b.go(async |store| store.enable(url).await.unwrap());
    a.go(async |store| until(async || !store.is_disabled(url)).await);
}

#[test]
#[ignore = "needs PostgreSQL; run it with --include-ignored"]
pub(super) fn what_waits_on_other_nodes_counts_for_the_bounds() {
    let mut world = World::postgres();
    world.options.max_queued = 4;
    let (a, b) = (Node::start(&world), Node::start(&world));
    a.beat();
    b.beat();
    a.go(async |store| {
        for n in 0..4 {
            submit(store, world.request(&n.to_string())).await;
        }
    });
    b.go(async |store| until(async || store.backlog().count().rows == 4).await);
    b.go(async |store| assert!(store.submit(world.request("one too many")).await.is_err()));
    assert_eq!(a.claim(9).len(), 4);
    b.wait(Duration::from_secs(6));
    b.go(async |store| {
        until(async || store.backlog().count().rows == 0).await;
        let limits = OwnerLimits { rows: Some(1), bytes: None };
        let request = |name: &str| NewRequest { owner: "o".into(), ..world.request(name) };
        assert_eq!(store.submit_within(request("x"), limits).await.unwrap(), Submitted::New);
        assert!(store.submit_within(request("y"), limits).await.is_err());
    });
}

#[test]
#[ignore = "needs PostgreSQL; run it with --include-ignored"]
fn figures_of_several_nodes_are_added_up() {
    let world = World::postgres();
    let (a, b) = (Node::start(&world), Node::start(&world));
    let minute = begin_of(a.go(async |store| store.wall()), Duration::from_mins(10));
    for (node, queued) in [(&a, 4), (&b, 3), (&a, 2)] {
        let waiting = Waiting { queued: Some(queued), ..Waiting::default() };
        let figures = Figures { accepted: 2, waiting, ..Figures::default() };
        let row = |scope| Row { scope, figures: figures.clone() };
        let rows = Arc::from([row(Scope::All), row(Scope::Route("/a".into()))]);
        node.go(async |store| store.add_figures(minute, rows).await.unwrap());
    }
    for stretch in [Duration::from_mins(1), Duration::from_mins(10)] {
        let series = b.go(async |store| store.series(&Scope::All, minute, stretch).await.unwrap());
        let figures: Vec<_> = series.into_values().map(|figures| (figures.accepted, figures.waiting.queued)).collect();
        assert_eq!(figures, [(6, Some(4))], "each node sees the same requests wait");
    }
}
