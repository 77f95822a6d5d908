//! What several nodes on one database promise each other. Each node has a runtime of its own: while the test does not
//! drive it, the node is like a process that was stopped, and when it is dropped, like a process that was killed.

mod shared;

use std::collections::HashSet;
use std::time::Duration;

use tokio::runtime::Runtime;

use super::pg_outages::{number, run, shell};
use super::world::{World, attach, current, id, submit};
use crate::Store;
use crate::record::{ClaimedRequest, RequestState};
use postback_wire::id::NodeId;
use postback_wire::time::Clock;

/// Longer than a node may be silent.
const LEASE: Duration = Duration::from_secs(16);

struct Node {
    runtime: Runtime,
    store: Store,
}

impl Node {
    fn start(world: &World) -> Self {
        Self::start_at(world, Clock::system())
    }

    fn start_at(world: &World, clock: Clock) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let store = runtime.block_on(async {
            let store = Store::open(world.options.clone(), NodeId::generate(), clock).await.unwrap();
            store.recover(3).await.unwrap();
            attach(&store);
            store
        });
        Self { runtime, store }
    }

    /// Ends the node as `kill -9` does.
    fn kill(self) {
        self.runtime.shutdown_background();
    }

    /// Drives the node.
    fn go<T>(&self, work: impl AsyncFnOnce(&Store) -> T) -> T {
        self.runtime.block_on(work(&self.store))
    }

    fn beat(&self) -> crate::Recovered {
        self.go(async |store| store.beat(3).await.unwrap())
    }

    /// Lets the time pass for this node alone.
    fn wait(&self, time: Duration) {
        self.runtime.block_on(async {
            tokio::time::pause();
            tokio::time::advance(time).await;
            tokio::time::resume();
        });
    }

    /// Claims the next request. Waits for it, because the times of two nodes differ by some milliseconds.
    fn claim_one(&self) -> ClaimedRequest {
        self.go(async |store| {
            let mut row = None;
            until(async || {
                row = store.claim_requests(1).await.unwrap().rows.pop();
                row.is_some()
            })
            .await;
            row.unwrap()
        })
    }

    fn claim(&self, most: usize) -> Vec<ClaimedRequest> {
        self.go(async |store| store.claim_requests(most).await.unwrap().rows)
    }
}

/// Runs cases that together make all statements of this part of the store.
pub(super) fn for_their_statements() {
    two_that_start_at_once_both_work();
    a_killed_node_is_taken_over_and_counts_a_crash();
    shared::an_end_on_another_node_is_heard();
    shared::a_cancel_reaches_the_node_that_runs_the_request();
    shared::what_waits_on_other_nodes_counts_for_the_bounds();
    a_node_that_starts_alone_takes_over_at_once();
}

/// Waits until the condition holds.
async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_mins(1), async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.expect("the condition holds in time");
}

#[test]
#[ignore = "needs PostgreSQL; run it with --include-ignored"]
fn two_that_start_at_once_both_work() {
    let world = World::postgres();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (a, b) = tokio::join!(world.open(), world.open());
        submit(&a, world.request("a")).await;
        submit(&b, world.request("b")).await;
        assert!(a.request(&id("b")).await.unwrap().is_some());
        assert!(a.is_shared());
        let nodes = b.nodes().await.unwrap();
        assert_eq!(nodes.iter().filter(|node| !node.is_over).count(), 2, "{nodes:?}");
        assert_eq!(nodes.iter().filter(|node| node.is_this).count(), 1);
        assert!(nodes.iter().all(|node| node.name.contains("process ") && node.version == env!("CARGO_PKG_VERSION")));
        a.close().await;
        let nodes = b.nodes().await.unwrap();
        assert_eq!(nodes.iter().filter(|node| node.is_over).count(), 1);
        b.close().await;
    });
}

#[test]
#[ignore = "needs PostgreSQL; run it with --include-ignored"]
fn each_request_is_claimed_by_one_node() {
    let world = World::postgres();
    let (a, b) = (Node::start(&world), Node::start(&world));
    a.go(async |store| {
        for n in 0..60 {
            submit(store, world.request(&n.to_string())).await;
        }
    });
    let claims = |node: Node| {
        std::thread::spawn(move || {
            let mut claimed = Vec::new();
            loop {
                let rows = node.claim(3);
                if rows.is_empty() {
                    return (node, claimed);
                }
                claimed.extend(rows.into_iter().map(|row| row.claim.id));
            }
        })
    };
    let (a, b) = (claims(a), claims(b));
    let ((a, of_a), (b, of_b)) = (a.join().unwrap(), b.join().unwrap());
    // A claim may find only rows that the other node is just claiming, and so end early.
    let rest: Vec<_> = a.claim(60).into_iter().map(|row| row.claim.id).collect();
    let all: Vec<_> = of_a.into_iter().chain(of_b).chain(rest).collect();
    assert_eq!(all.len(), 60);
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), 60);
    drop(b);
}

#[test]
#[ignore = "needs PostgreSQL; run it with --include-ignored"]
fn a_killed_node_is_taken_over_and_counts_a_crash() {
    let world = World::postgres();
    let (a, b) = (Node::start(&world), Node::start(&world));
    a.go(async |store| {
        submit(store, world.request("r")).await;
        store.post_durably(vec![world.report("x")]).await.unwrap();
    });
    let row = a.claim_one();
    std::mem::forget(a.store.begin(&row.claim));
    // The mark goes with the next transaction.
    assert_eq!(a.go(async |store| store.claim_reports(9).await.unwrap().rows.len()), 1);
    assert_eq!(b.beat().others, 1);
    a.kill();
    // At first the node is only silent.
    assert_eq!((b.beat().others, b.claim(9).len()), (1, 0));
    b.wait(Duration::from_secs(7));
    assert_eq!(b.beat().others, 1);
    b.wait(Duration::from_secs(2));
    let recovered = b.beat();
    assert_eq!((recovered.others, recovered.ended, recovered.requests, recovered.reports), (0, 1, 1, 1));
    b.go(async |store| store.taken_over().await);
    let again = b.claim_one();
    assert_eq!((again.claim.epoch, again.crashes), (2, 1));
    b.go(async |store| current(store.settle_request(again.claim, world.done(), vec![]).await));
    assert_eq!(b.beat().ended, 0);
}

#[test]
#[ignore = "needs PostgreSQL; run it with --include-ignored"]
fn a_stopped_node_is_taken_over_and_can_write_nothing_afterwards() {
    let world = World::postgres();
    let (a, b) = (Node::start(&world), Node::start(&world));
    a.go(async |store| submit(store, world.request("r")).await);
    let row = a.claim_one();
    b.beat();
    b.wait(Duration::from_secs(10));
    assert_eq!(b.beat().ended, 0, "the node holds its lock, so it has the whole lease");
    b.wait(LEASE);
    assert_eq!(b.beat().requests, 1);
    // The node goes on, and does not know yet.
    a.go(async |store| {
        let settled = store.settle_request(row.claim.clone(), world.done(), vec![world.report("r")]).await;
        assert!(settled.is_err(), "{settled:?}");
        store.broken().await;
    });
    b.go(async |store| {
        assert_eq!(store.request(&id("r")).await.unwrap().unwrap().state, RequestState::Queued);
        assert!(store.deliveries("r").await.unwrap().is_empty());
    });
}

#[test]
#[ignore = "needs PostgreSQL; run it with --include-ignored"]
fn a_node_that_works_is_not_taken_over() {
    let world = World::postgres();
    let (a, b) = (Node::start(&world), Node::start(&world));
    b.beat();
    for _ in 0..3 {
        a.beat();
        b.wait(Duration::from_secs(14));
        assert_eq!((b.beat().others, b.beat().ended), (1, 0));
    }
    a.go(async |store| submit(store, world.request("r")).await);
}

/// A stopped process can leave a transaction open, which locks its own row.
#[test]
#[ignore = "needs PostgreSQL; run it with --include-ignored"]
fn a_node_that_was_stopped_in_a_transaction_does_not_stop_the_others() {
    let world = World::postgres();
    let (a, b) = (Node::start(&world), Node::start(&world));
    a.go(async |store| submit(store, world.request("r")).await);
    a.claim_one();
    b.beat();
    b.wait(LEASE);
    b.go(async |store| {
        let mut conn = shell(world.database()).await;
        run(&mut conn, "BEGIN; UPDATE node SET wall = wall WHERE seq = (SELECT min(seq) FROM node)").await;
        assert_eq!(store.beat(3).await.unwrap().ended, 0);
        submit(store, world.request("s")).await;
        // The server ends such a transaction.
        run(&mut conn, "ROLLBACK").await;
        assert_eq!(store.beat(3).await.unwrap().ended, 1);
    });
}

#[test]
#[ignore = "needs PostgreSQL; run it with --include-ignored"]
fn a_node_that_leaves_is_not_waited_for() {
    let world = World::postgres();
    let (a, b) = (Node::start(&world), Node::start(&world));
    a.go(async |store| submit(store, world.request("r")).await);
    a.claim_one();
    a.go(async |store| store.close().await);
    assert_eq!((b.beat().requests, b.beat().others), (1, 0));
}

#[test]
#[ignore = "needs PostgreSQL; run it with --include-ignored"]
fn nodes_whose_wall_clocks_differ_agree_on_what_is_due() {
    let world = World::postgres();
    let a = Node::start_at(&world, world.clock());
    a.go(async |store| {
        submit(store, world.request("r")).await;
        let row = store.claim_requests(1).await.unwrap().rows.remove(0);
        let pause = world.now().saturating_add(Duration::from_mins(10));
        current(store.retry_request(row.claim, pause, None).await);
    });
    // The clock of the second machine is a day ahead.
    world.jump(24 * 3_600);
    let b = Node::start_at(&world, world.clock());
    assert!(b.claim(1).is_empty(), "the pause is not over");
    world.advance(Duration::from_secs(601));
    assert_eq!(b.claim(1).len(), 1);
}

#[test]
#[ignore = "needs PostgreSQL; run it with --include-ignored"]
fn a_node_that_starts_alone_takes_over_at_once() {
    let world = World::postgres();
    let a = Node::start(&world);
    a.go(async |store| submit(store, world.request("r")).await);
    let row = a.claim_one();
    std::mem::forget(a.store.begin(&row.claim));
    a.beat();
    a.kill();
    let b = Node::start(&world);
    b.runtime.block_on(async {
        let mut conn = shell(world.database()).await;
        assert_eq!(number(&mut conn, "SELECT count(*) FROM node WHERE is_over AND is_empty").await, 1);
        assert_eq!(number(&mut conn, "SELECT count(*) FROM request WHERE state = 0 AND crashes = 1").await, 1);
    });
}

/// A node may end before the mark of a run is written. So only each third claim counts in any case.
#[test]
#[ignore = "needs PostgreSQL; run it with --include-ignored"]
fn what_only_waited_on_a_killed_node_hardly_ever_counts_a_crash() {
    let world = World::postgres();
    let mut node = Node::start(&world);
    node.go(async |store| submit(store, world.request("r")).await);
    for crashes in [0, 0, 0, 1, 1, 1, 2] {
        let row = node.claim_one();
        assert_eq!(row.crashes, crashes, "at claim {}", row.claim.epoch);
        // A run that has ended has not begun any more.
        drop(node.store.begin(&row.claim));
        node.kill();
        node = Node::start(&world);
    }
}
