//! The state that a crash leaves, and how the next owner recovers.

use std::sync::Arc;

use futures_util::FutureExt as _;
use sqlx::{Connection as _, SqliteConnection};
use tokio::sync::Semaphore;

use super::world::{ROUTE, World, attach, current, delivering, id, running, submit};
use crate::record::{Registration, RequestState, Settled};
use crate::{Cancelled, Store};
use postback_wire::report::{Ends, Outcome};
use postback_wire::webhook::{Provenance, Webhook};

/// Copies the files of the store while the store is open. The copies have the same state as the files after a crash.
fn crashed(world: &World) -> World {
    let copy = World::sqlite();
    for file in ["store.db", "store.db-wal"] {
        std::fs::copy(world.dir.path().join(file), copy.dir.path().join(file)).unwrap();
    }
    copy
}

impl World {
    /// Opens the store. The folder of the store is not deleted when this value is dropped.
    async fn into_store(self) -> Store {
        let store = self.open().await;
        drop(self.dir.keep());
        store
    }
}

#[tokio::test]
async fn crash_before_commit_leaves_running() {
    let world = World::sqlite();
    let (store, faults) = world.open_faulty().await;
    let claimed = running(&world, &store, "r").await;
    faults.hold();
    let mut settle = Box::pin(store.settle_request(claimed.claim.clone(), world.done(), vec![world.report("r")]));
    assert!(settle.as_mut().now_or_never().is_none());
    faults.held().await;
    let before = crashed(&world);
    faults.release();
    current(settle.await);

    let store = before.open().await;
    assert_eq!(store.request(&id("r")).await.unwrap().unwrap().state, RequestState::Running);
    assert!(store.deliveries("r").await.unwrap().is_empty());
    let recovered = store.recover(3).await.unwrap();
    assert_eq!((recovered.requests, recovered.reports, recovered.lost.len()), (1, 0, 0));
    attach(&store);
    let again = store.claim_requests(1).await.unwrap().rows.remove(0);
    assert_eq!((again.claim.epoch, again.crashes, again.failures), (2, 1, 0));
    // The recovery has counted the first run as crashed, so the claim of the first run is stale. Now the first run
    // tries to settle the request with its stale claim.
    let late = store.settle_request(claimed.claim, world.done(), vec![]).await.unwrap();
    assert_eq!(late, Settled::Stale);
}

#[tokio::test]
async fn crash_after_commit_before_ack_keeps_outcome() {
    let world = World::sqlite();
    let (store, faults) = world.open_faulty().await;
    let claimed = running(&world, &store, "r").await;
    faults.hold_after();
    let mut settle = Box::pin(store.settle_request(claimed.claim.clone(), world.done(), vec![world.report("r")]));
    assert!(settle.as_mut().now_or_never().is_none());
    faults.held().await;
    assert!(settle.as_mut().now_or_never().is_none());
    let after = crashed(&world);
    faults.release();
    current(settle.await);

    let store = after.open().await;
    let record = store.request(&id("r")).await.unwrap().unwrap();
    assert_eq!(record.state, RequestState::Settled(world.done()));
    assert_eq!(store.recover(3).await.unwrap().requests, 0);
    // The caller got no answer to its first call before the crash, so it settles the request again.
    let again = store.settle_request(claimed.claim, world.done(), vec![world.report("r")]).await;
    assert_eq!(again.unwrap(), Settled::Stale);
    assert_eq!(store.claim_reports(5).await.unwrap().rows.len(), 1);
}

#[tokio::test]
async fn accepted_rows_survive_a_crash() {
    let world = World::sqlite();
    let store = world.open().await;
    let mut held = store.attach_reports(Arc::new(Semaphore::new(1)));
    submit(&store, world.request("r")).await;
    store.post_durably(vec![world.report("x"), world.report("x")]).await.unwrap();
    assert_eq!(held.recv().await.unwrap().row.attempt, 1);
    let store = crashed(&world).into_store().await;
    assert_eq!(store.request(&id("r")).await.unwrap().unwrap().state, RequestState::Queued);
    assert_eq!(store.deliveries("x").await.unwrap().len(), 2);
    assert_eq!(store.recover(3).await.unwrap().reports, 1);
    assert_eq!(store.claim_reports(5).await.unwrap().rows.len(), 2);
}

#[tokio::test]
async fn a_cancelled_request_is_not_run_again_after_a_crash() {
    let world = World::sqlite();
    let webhook = Webhook::new("https://example.com/ended").unwrap().chosen_by(Some(Provenance::Operator));
    let registration = Registration { webhooks: vec![webhook], on: Ends::CANCELLED, tells_reason: true };
    let store = world.open().await;
    for name in ["r", "other"] {
        let claim = running(&world, &store, name).await.claim;
        current(store.register(claim, registration.clone()).await);
    }
    let cancelled = store.cancel(&id("r"), ROUTE, None, |_, _| panic!("it runs")).await.unwrap();
    assert_eq!(cancelled, Cancelled::Stopping);
    let store = crashed(&world).into_store().await;
    let recovered = store.recover(3).await.unwrap();
    assert_eq!((recovered.requests, recovered.lost.len()), (1, 1));
    let lost = &recovered.lost[0];
    assert_eq!((lost.claim.id.as_str(), lost.cancelled, lost.crashes), ("r", true, 1));
    assert_eq!(lost.registration.as_deref(), Some(&registration));
    attach(&store);
    let rows = store.claim_requests(5).await.unwrap().rows;
    assert_eq!(rows.iter().map(|row| (row.claim.id.as_str(), row.cancelled)).collect::<Vec<_>>(), [("other", false)]);
    let outcome = Outcome::cancelled(world.now());
    current(store.settle_request(lost.claim.clone(), outcome, vec![]).await);
}

#[tokio::test]
async fn missing_node_row_is_dead() {
    let world = World::sqlite();
    let store = world.open().await;
    running(&world, &store, "r").await;
    delivering(&store, world.report("x")).await;
    store.close().await;
    let mut file = SqliteConnection::connect(world.dir.path().join("store.db").to_str().unwrap()).await.unwrap();
    sqlx::raw_sql("DELETE FROM node").execute(&mut file).await.unwrap();
    file.close().await.unwrap();
    // The new node may get the row number of the deleted node. The store must still recover the claims of the deleted
    // node.
    let store = world.open().await;
    let recovered = store.recover(3).await.unwrap();
    assert_eq!((recovered.requests, recovered.reports), (1, 1));
    attach(&store);
    assert_eq!(store.claim_requests(5).await.unwrap().rows.len(), 1);
    assert_eq!(store.claim_reports(5).await.unwrap().rows.len(), 1);
}

#[tokio::test]
pub(super) async fn only_what_had_begun_counts_the_death_of_its_process() {
    let world = World::sqlite();
    let store = world.open().await;
    store.recover(2).await.unwrap();
    let mut begun = Vec::new();
    for name in ["ran", "waited", "over"] {
        let claimed = running(&world, &store, name).await;
        begun.extend((name != "waited").then(|| store.begin(&claimed.claim)));
        if name == "over" {
            current(store.put_back_request(claimed.claim).await);
        }
    }
    store.close().await;
    // Two processes open the store and close it without recovering the requests. The next process must still recover
    // them.
    for _ in 0..2 {
        world.open().await.close().await;
    }
    let store = world.open().await;
    let recovered = store.recover(2).await.unwrap();
    assert_eq!((recovered.requests, recovered.lost.len()), (2, 0));
    for (name, runs) in [("ran", 1), ("waited", 0)] {
        assert_eq!(store.timeline(&id(name)).await.unwrap().unwrap().runs.len(), runs, "{name}");
    }
    attach(&store);
    let mut rows = store.claim_requests(5).await.unwrap().rows;
    rows.sort_by(|a, b| a.claim.id.as_str().cmp(b.claim.id.as_str()));
    let crashes: Vec<_> = rows.iter().map(|row| (row.claim.id.as_str(), row.crashes)).collect();
    assert_eq!(crashes, [("over", 0), ("ran", 1), ("waited", 0)]);
    let _begun = rows.iter().map(|row| store.begin(&row.claim)).collect::<Vec<_>>();
    store.close().await;
    let store = world.open().await;
    let recovered = store.recover(2).await.unwrap();
    assert_eq!((recovered.requests, recovered.lost.len()), (2, 1));
    assert_eq!((recovered.lost[0].claim.id.as_str(), recovered.lost[0].crashes), ("ran", 2));
}
