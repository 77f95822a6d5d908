//! What the store reports when its writer fails, hangs, or has ended.
//!
//! The tokio clock is paused only while the writer is held, so that a backend with threads of its own can run these
//! cases.

use std::time::Duration;

use futures_util::FutureExt as _;

use super::faults::Fault;
use super::world::{World, attach, submit};
use crate::Error;
use crate::error::Bound;
use crate::health::Trouble;

const SECOND: Duration = Duration::from_secs(1);

/// Moves tokio's clock forward by this number of seconds.
async fn pass(seconds: u32) {
    tokio::time::pause();
    tokio::time::advance(SECOND * seconds).await;
    tokio::time::resume();
}

pub(super) async fn a_writer_that_panicked_is_reported(world: World) {
    let (store, faults) = world.open_faulty().await;
    submit(&store, world.request("before")).await;
    assert_eq!(store.trouble(), None);
    assert!(store.broken().now_or_never().is_none());
    faults.panic();
    assert!(matches!(store.submit(world.request("r")).await, Err(Error::Closed)));
    assert_eq!(store.broken().await, Trouble::Ended);
    assert_eq!(store.trouble(), Some(Trouble::Ended));
}

pub(super) async fn a_store_that_was_taken_over_writes_nothing_more(world: World) {
    let (store, faults) = world.open_faulty().await;
    submit(&store, world.request("before")).await;
    faults.next(Fault::TakenOver);
    assert!(matches!(store.submit(world.request("r")).await, Err(Error::Backend(_))));
    assert_eq!(store.broken().await, Trouble::Ended);
    assert!(matches!(store.submit(world.request("later")).await, Err(Error::Closed)));
    assert_eq!(faults.sizes().len(), 1);
}

pub(super) async fn a_store_that_was_closed_is_not_broken(world: World) {
    let store = world.open().await;
    store.close().await;
    assert_eq!(store.trouble(), None);
    assert!(store.broken().now_or_never().is_none());
}

pub(super) async fn a_writer_that_hangs_is_reported_until_it_goes_on(world: World) {
    let (store, faults) = world.open_faulty().await;
    faults.hold();
    let request = world.request("r");
    let mut waiting = std::pin::pin!(store.submit(request));
    assert!(waiting.as_mut().now_or_never().is_none());
    faults.held().await;
    pass(4).await;
    assert_eq!(store.trouble(), None);
    pass(2).await;
    assert!(matches!(store.trouble(), Some(Trouble::Hangs(time)) if time >= SECOND * 6));
    assert!(store.broken().now_or_never().is_none());
    // After 300 s more, `broken` returns, because the writer is broken. After that, the backend continues, and the
    // store works again.
    pass(300).await;
    assert!(matches!(store.broken().await, Trouble::Hangs(_)));
    faults.release();
    waiting.await.unwrap();
    store.barrier().await.unwrap();
    assert_eq!(store.trouble(), None);
}

pub(super) async fn a_store_that_cannot_write_is_reported_until_it_can(world: World) {
    let (store, faults) = world.open_faulty().await;
    faults.set_down(true);
    store.post(vec![world.report("x")]).unwrap();
    pass(0).await;
    let trouble = async {
        loop {
            if let Some(trouble) = store.trouble() {
                return trouble;
            }
            pass(1).await;
            tokio::task::yield_now().await;
        }
    };
    assert!(matches!(trouble.await, Trouble::Fails(_)));
    // The writer repeats a failed commit without limit. A writer that repeats a commit does not hang, so the store does
    // not say that the writer is broken.
    pass(600).await;
    assert!(store.broken().now_or_never().is_none());
    faults.set_down(false);
    store.barrier().await.unwrap();
    assert_eq!(store.trouble(), None);
}

pub(super) async fn a_store_that_failed_is_reported_until_as_much_is_written(world: World) {
    let (store, faults) = world.open_faulty().await;
    faults.set_down(true);
    let mut waiting = std::pin::pin!(store.submit(world.request("r")));
    let refused = loop {
        match waiting.as_mut().now_or_never() {
            Some(refused) => break refused,
            None => pass(1).await,
        }
        tokio::task::yield_now().await;
    };
    assert!(matches!(refused, Err(Error::Backend(_))), "{refused:?}");
    // No caller waits for a write now. `trouble` must still return that writes fail, because a new submission would
    // fail.
    assert!(matches!(store.trouble(), Some(Trouble::Fails(_))));
    for _ in 0..30 {
        pass(1).await;
        tokio::task::yield_now().await;
        assert!(matches!(store.trouble(), Some(Trouble::Fails(_))));
    }
    faults.set_down(false);
    let over = async {
        while store.trouble().is_some() {
            pass(1).await;
            tokio::task::yield_now().await;
        }
    };
    over.await;
    submit(&store, world.request("r")).await;
}

pub(super) async fn a_full_store_is_reported(mut world: World) {
    world.options.max_queued = 2;
    let store = world.open().await;
    submit(&store, world.request("a")).await;
    assert_eq!(store.is_full(), None);
    submit(&store, world.request("b")).await;
    assert_eq!((store.is_full(), store.trouble()), (Some(Bound::Rows(2)), None), "full, and in order");
    assert!(matches!(store.submit(world.request("c")).await, Err(Error::Refused(_))));
    attach(&store);
    store.claim_requests(1).await.unwrap();
    assert_eq!(store.is_full(), None);
}
