//! What runs tell about their progress.

use std::time::Duration;

use futures_util::FutureExt as _;

use super::faults::Fault;
use super::world::{World, attach, current, id, running, stale, submit};
use crate::feed::{Change, Heard};
use crate::progress::{Progress, Told};
use crate::record::RequestClaim;
use crate::{Location, Options, Store};
use postback_wire::report::Json;

fn told(world: &World, fraction: f64, message: &str) -> Told {
    let detail = Json::of(&[message]).unwrap();
    Told { fraction: Some(fraction), message: Some(message.to_owned()), detail, at: world.now() }
}

#[expect(clippy::unnecessary_wraps, reason = "it is compared with what the store returns")]
fn progress(claim: &RequestClaim, sequence: u64, told: &Told) -> Option<Progress> {
    Some(Progress { epoch: claim.epoch, sequence, told: told.clone() })
}

async fn read(store: &Store, name: &str) -> Option<Progress> {
    store.progress(&id(name)).await.unwrap()
}

async fn of_timeline(store: &Store, name: &str) -> Option<Progress> {
    store.timeline(&id(name)).await.unwrap().unwrap().progress
}

pub(super) async fn the_last_progress_is_kept_with_its_number(world: World) {
    let store = world.open().await;
    let claim = running(&world, &store, "r").await.claim;
    assert_eq!((read(&store, "r").await, read(&store, "nobody").await), (None, None));
    assert_eq!(of_timeline(&store, "r").await, None);
    for sequence in 1..=3_u32 {
        world.advance(Duration::from_secs(1));
        let told = told(&world, f64::from(sequence) / 4.0, &format!("step {sequence} of \u{1f980}\"\\\n"));
        assert_eq!(store.tell_progress(claim.clone(), told.clone()).await.unwrap(), Some(sequence.into()));
        let expected = progress(&claim, sequence.into(), &told);
        assert_eq!(read(&store, "r").await, expected);
        assert_eq!(of_timeline(&store, "r").await, expected);
    }
    let nothing = Told { fraction: None, message: None, detail: None, at: world.now() };
    assert_eq!(store.tell_progress(claim.clone(), nothing.clone()).await.unwrap(), Some(4));
    assert_eq!(read(&store, "r").await, progress(&claim, 4, &nothing));

    // The end of the request does not delete it, and nothing is told after the end.
    current(store.settle_request(claim.clone(), world.done(), vec![]).await);
    assert_eq!(store.tell_progress(claim.clone(), told(&world, 1.0, "late")).await.unwrap(), None);
    assert_eq!(read(&store, "r").await, progress(&claim, 4, &nothing));
    world.advance(Duration::from_secs(1));
    assert_eq!(store.purge(world.now(), 10).await.unwrap(), 1);
    assert_eq!(read(&store, "r").await, None);
    let claim = running(&world, &store, "r").await.claim;
    assert_eq!(read(&store, "r").await, None);
    assert_eq!(store.tell_progress(claim, nothing).await.unwrap(), Some(1));
}

pub(super) async fn only_the_current_run_tells_progress(world: World) {
    let store = world.open().await;
    let first = running(&world, &store, "r").await.claim;
    let early = told(&world, 0.5, "first run");
    assert_eq!(store.tell_progress(stale(&first), early.clone()).await.unwrap(), None);
    assert_eq!(store.tell_progress(first.clone(), early.clone()).await.unwrap(), Some(1));
    current(store.retry_request(first.clone(), world.now(), None).await);
    // A request that waits again still shows what its last run has told.
    assert_eq!(store.tell_progress(first.clone(), early.clone()).await.unwrap(), None);
    assert_eq!(read(&store, "r").await, progress(&first, 1, &early));

    let second = store.claim_requests(1).await.unwrap().rows.remove(0).claim;
    assert_eq!(store.tell_progress(first.clone(), early.clone()).await.unwrap(), None);
    // The second run has told nothing. The timeline still has what the first one told.
    assert_eq!(read(&store, "r").await, None);
    assert_eq!(of_timeline(&store, "r").await, progress(&first, 1, &early));
    let late = told(&world, 0.1, "second run");
    assert_eq!(store.tell_progress(second.clone(), late.clone()).await.unwrap(), Some(2));
    assert_eq!(read(&store, "r").await, progress(&second, 2, &late));

    let unknown = RequestClaim { id: id("nobody"), epoch: 1 };
    assert_eq!(store.tell_progress(unknown, early).await.unwrap(), None);
}

pub(super) async fn progress_of_many_runs_is_stored_together(world: World) {
    let store = world.open().await;
    attach(&store);
    for n in 0..300 {
        submit(&store, world.request(&format!("r{n}"))).await;
    }
    let claims: Vec<_> = store.claim_requests(300).await.unwrap().rows.into_iter().map(|row| row.claim).collect();
    assert_eq!(claims.len(), 300);
    for round in 1..=2 {
        let of = |claim: &RequestClaim| told(&world, 0.5, &format!("{} {round}", claim.id));
        let all = claims.iter().map(|claim| store.tell_progress(claim.clone(), of(claim)));
        for sequence in futures_util::future::join_all(all).await {
            assert_eq!(sequence.unwrap(), Some(round));
        }
        for claim in claims.iter().step_by(37) {
            assert_eq!(read(&store, claim.id.as_str()).await, progress(claim, round, &of(claim)));
        }
    }
}

pub(super) async fn who_follows_a_request_hears_of_progress(world: World) {
    let store = world.open().await;
    let claim = running(&world, &store, "r").await.claim;
    let (watch, mut feed) = (store.watch(&id("r")), store.feed());
    let mut change = Box::pin(watch.change());
    assert!(change.as_mut().now_or_never().is_none());
    store.tell_progress(claim.clone(), told(&world, 0.5, "half")).await.unwrap();
    change.await;
    let heard = Heard::Change(Change::Progress { id: id("r"), sequence: 1 });
    assert_eq!(feed.next().await, Some(heard));
    // What is refused is not heard.
    assert_eq!(store.tell_progress(stale(&claim), told(&world, 0.6, "late")).await.unwrap(), None);
    store.barrier().await.unwrap();
    assert!(feed.next().now_or_never().is_none());
}

pub(super) async fn progress_is_repeated_after_a_failed_write(world: World) {
    let (store, faults) = world.open_faulty().await;
    let claim = running(&world, &store, "r").await.claim;
    for (sequence, fault) in (1..).zip([Fault::Transient, Fault::UnknownWritten, Fault::UnknownLost]) {
        faults.next(fault);
        assert_eq!(store.tell_progress(claim.clone(), told(&world, 0.5, "half")).await.unwrap(), Some(sequence));
        assert_eq!(read(&store, "r").await.map(|progress| progress.sequence), Some(sequence), "{fault:?}");
    }
}

/// After a restart, the request waits again, and still shows what its lost run has told.
#[cfg(feature = "sqlite")]
#[tokio::test]
async fn progress_survives_the_process() {
    let world = World::sqlite();
    let store = world.open().await;
    let claim = running(&world, &store, "r").await.claim;
    let half = told(&world, 0.5, "half");
    store.tell_progress(claim.clone(), half.clone()).await.unwrap();
    store.close().await;
    let store = world.open().await;
    store.recover(3).await.unwrap();
    assert_eq!(read(&store, "r").await, progress(&claim, 1, &half));
    attach(&store);
    let next = store.claim_requests(1).await.unwrap().rows.remove(0).claim;
    let more = told(&world, 0.6, "more");
    assert_eq!(store.tell_progress(next.clone(), more.clone()).await.unwrap(), Some(2));
    assert_eq!(read(&store, "r").await, progress(&next, 2, &more));
}

/// In memory, the texts count against the memory limit of requests. If there is no room, the fraction alone is kept.
#[tokio::test]
async fn progress_in_memory_is_bounded() {
    let mut world = World::memory();
    world.options = Options::at(Location::Memory { reports: 10, bytes: 4_096, kept: 10 });
    let store = world.open().await;
    let (a, b) = (running(&world, &store, "a").await.claim, running(&world, &store, "b").await.claim);
    let long = told(&world, 0.5, &"x".repeat(1_000));
    assert!(store.tell_progress(a.clone(), long.clone()).await.unwrap().is_some());
    assert_eq!(read(&store, "a").await, progress(&a, 1, &long));
    store.tell_progress(b.clone(), long.clone()).await.unwrap();
    let bare = Told { message: None, detail: None, ..long.clone() };
    assert_eq!(read(&store, "b").await, progress(&b, 1, &bare));
    // The end of a request gives its memory back. The ended row is then the one that makes room.
    current(store.settle_request(a, world.done(), vec![]).await);
    for sequence in 2..50 {
        store.tell_progress(b.clone(), long.clone()).await.unwrap();
        assert_eq!(read(&store, "b").await, progress(&b, sequence, &long));
    }
    current(store.settle_request(b, world.done(), vec![]).await);
    let quotas = running(&world, &store, "c").await.claim;
    store.tell_progress(quotas.clone(), long.clone()).await.unwrap();
    assert_eq!(read(&store, "c").await, progress(&quotas, 1, &long), "everything was given back");
}
