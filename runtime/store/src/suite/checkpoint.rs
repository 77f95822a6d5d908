//! What runs leave for the next run of their request.

use std::time::Duration;

use bytes::Bytes;

use super::faults::Fault;
use super::world::{World, attach, current, id, running, stale, submit};
use crate::checkpoint::{CheckpointLine, Saved};
use crate::record::RequestClaim;
use crate::{Location, Options, Store};

async fn read(store: &Store, name: &str) -> Option<Bytes> {
    store.checkpoint(&id(name)).await.unwrap()
}

async fn save(store: &Store, claim: &RequestClaim, value: &str) -> Saved {
    store.save_checkpoint(claim.clone(), Bytes::copy_from_slice(value.as_bytes())).await.unwrap()
}

pub(super) async fn the_last_checkpoint_is_handed_to_the_next_run(world: World) {
    let store = world.open().await;
    let first = running(&world, &store, "r").await.claim;
    assert_eq!((read(&store, "r").await, read(&store, "nobody").await), (None, None));
    for value in ["1", "", "\u{1f980}\"\\\n"] {
        assert_eq!(save(&store, &first, value).await, Saved::Yes);
        assert_eq!(read(&store, "r").await.unwrap(), value);
    }
    assert_eq!(save(&store, &first, "half").await, Saved::Yes);
    // It stays while the request waits and when it runs again, also if it has not ended yet.
    current(store.retry_request(first.clone(), world.now(), None).await);
    store.drop_checkpoint(id("r")).await.unwrap();
    assert_eq!(read(&store, "r").await.unwrap(), "half");
    let second = store.claim_requests(1).await.unwrap().rows.remove(0).claim;
    assert_eq!(read(&store, "r").await.unwrap(), "half");
    assert_eq!(save(&store, &second, "more").await, Saved::Yes);
    current(store.settle_request(second.clone(), world.done(), vec![]).await);
    store.drop_checkpoint(id("r")).await.unwrap();
    assert_eq!(read(&store, "r").await, None);
    store.drop_checkpoint(id("r")).await.unwrap();

    // A checkpoint that was not dropped goes with its request.
    let kept = running(&world, &store, "kept").await.claim;
    assert_eq!(save(&store, &kept, "x").await, Saved::Yes);
    current(store.settle_request(kept, world.done(), vec![]).await);
    world.advance(Duration::from_secs(1));
    assert_eq!(store.purge(world.now(), 10).await.unwrap(), 2);
    running(&world, &store, "kept").await;
    assert_eq!(read(&store, "kept").await, None);
}

pub(super) async fn the_size_and_the_time_of_a_checkpoint_are_shown(world: World) {
    let store = world.open().await;
    let shown = async || store.request_detail(&id("r")).await.unwrap().unwrap().checkpoint;
    let first = running(&world, &store, "r").await.claim;
    assert_eq!(shown().await, None);
    let line = |bytes| Some(CheckpointLine { bytes, saved: Some(world.now()) });
    assert_eq!(save(&store, &first, "\u{e9}").await, Saved::Yes);
    assert_eq!(shown().await, line(2));
    world.advance(Duration::from_secs(5));
    assert_eq!(save(&store, &first, &"x".repeat(100_000)).await, Saved::Yes);
    assert_eq!(shown().await, line(100_000));
    // It is also shown while the request waits for its next run.
    current(store.retry_request(first, world.now(), None).await);
    assert_eq!(shown().await, line(100_000));
    let second = store.claim_requests(1).await.unwrap().rows.remove(0).claim;
    current(store.settle_request(second, world.done(), vec![]).await);
    store.drop_checkpoint(id("r")).await.unwrap();
    assert_eq!(shown().await, None);
}

pub(super) async fn only_the_current_run_saves_a_checkpoint(world: World) {
    let store = world.open().await;
    let first = running(&world, &store, "r").await.claim;
    assert_eq!(save(&store, &first, "first").await, Saved::Yes);
    assert_eq!(save(&store, &stale(&first), "stale").await, Saved::Stale);
    current(store.retry_request(first.clone(), world.now(), None).await);
    assert_eq!(save(&store, &first, "waits").await, Saved::Stale);
    let second = store.claim_requests(1).await.unwrap().rows.remove(0).claim;
    assert_eq!(save(&store, &first, "late").await, Saved::Stale);
    assert_eq!(read(&store, "r").await.unwrap(), "first");
    current(store.settle_request(second.clone(), world.done(), vec![]).await);
    assert_eq!(save(&store, &second, "over").await, Saved::Stale);
    let unknown = RequestClaim { id: id("nobody"), epoch: 1 };
    assert_eq!(save(&store, &unknown, "x").await, Saved::Stale);
}

pub(super) async fn checkpoints_of_many_runs_are_stored_together(world: World) {
    let store = world.open().await;
    attach(&store);
    for n in 0..100 {
        submit(&store, world.request(&format!("r{n}"))).await;
    }
    let claims: Vec<_> = store.claim_requests(100).await.unwrap().rows.into_iter().map(|row| row.claim).collect();
    for round in 1..=2 {
        let values: Vec<_> = claims.iter().map(|claim| format!("{} {round}", claim.id)).collect();
        let all = claims.iter().zip(&values).map(|(claim, value)| save(&store, claim, value));
        assert!(futures_util::future::join_all(all).await.iter().all(|saved| *saved == Saved::Yes));
        for (claim, value) in claims.iter().zip(&values).step_by(13) {
            assert_eq!(read(&store, claim.id.as_str()).await.unwrap(), value);
        }
    }
    for claim in &claims {
        current(store.settle_request(claim.clone(), world.done(), vec![]).await);
    }
    futures_util::future::join_all(claims.iter().map(|claim| store.drop_checkpoint(claim.id.clone()))).await;
    for claim in claims.iter().step_by(13) {
        assert_eq!(read(&store, claim.id.as_str()).await, None);
    }
}

pub(super) async fn a_checkpoint_is_repeated_after_a_failed_write(world: World) {
    let (store, faults) = world.open_faulty().await;
    let claim = running(&world, &store, "r").await.claim;
    for (value, fault) in ["1", "2", "3"].into_iter().zip([Fault::Transient, Fault::UnknownWritten, Fault::UnknownLost])
    {
        faults.next(fault);
        assert_eq!(save(&store, &claim, value).await, Saved::Yes);
        assert_eq!(read(&store, "r").await.unwrap(), value, "{fault:?}");
    }
}

/// After a restart, the request waits again, and still has what its lost run has saved.
#[cfg(feature = "sqlite")]
#[tokio::test]
async fn a_checkpoint_survives_the_process() {
    let world = World::sqlite();
    let store = world.open().await;
    let claim = running(&world, &store, "r").await.claim;
    assert_eq!(save(&store, &claim, "half").await, Saved::Yes);
    store.close().await;
    let store = world.open().await;
    store.recover(3).await.unwrap();
    assert_eq!(save(&store, &claim, "late").await, Saved::Stale);
    assert_eq!(read(&store, "r").await.unwrap(), "half");
}

/// In memory, a checkpoint counts against the memory limit of requests. If there is no room, the one before is kept.
#[tokio::test]
async fn checkpoints_in_memory_are_bounded() {
    let mut world = World::memory();
    world.options = Options::at(Location::Memory { reports: 10, bytes: 4_096, kept: 10 });
    let store = world.open().await;
    let claim = running(&world, &store, "r").await.claim;
    assert_eq!(save(&store, &claim, &"x".repeat(2_000)).await, Saved::Yes);
    assert_eq!(save(&store, &claim, &"y".repeat(9_000)).await, Saved::NoRoom);
    assert_eq!(read(&store, "r").await.unwrap(), "x".repeat(2_000));
    for n in 0..20 {
        assert_eq!(save(&store, &claim, &"z".repeat(n * 100)).await, Saved::Yes);
    }
    current(store.settle_request(claim, world.done(), vec![]).await);
    assert_eq!(read(&store, "r").await, None);
    let next = running(&world, &store, "next").await.claim;
    assert_eq!(save(&store, &next, &"x".repeat(2_000)).await, Saved::Yes, "everything was given back");
}
