//! The group commit: batches, failures, back-pressure, and the end of the writer.

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::join_all;

use super::faults::Fault;
use super::world::{ROUTE, World, attach, current, id, running, submit};
use crate::Error;
use crate::ops::Op;
use crate::record::{NewReport, NewRequest, Settled, Submitted};
use postback_wire::report::{Json, Outcome};
use postback_wire::webhook::Webhook;

pub(super) async fn batch_with_one_bad_op_fails_only_that_op(world: World) {
    let (store, faults) = world.open_faulty().await;
    faults.refuse(|op| matches!(op, Op::Submit(submit) if submit.request.id.as_str() == "13"));
    faults.hold();
    let ids: Vec<String> = (0..50).map(|n| n.to_string()).collect();
    let submits = join_all(ids.iter().map(|id| store.submit(world.request(id))));
    let (answers, ()) = tokio::join!(submits, async {
        faults.held().await;
        faults.release();
    });
    for (id, answer) in ids.iter().zip(answers) {
        match id.as_str() {
            "13" => assert!(matches!(answer, Err(Error::Unwritable(_)))),
            _ => assert_eq!(answer.unwrap(), Submitted::New, "{id}"),
        }
    }
    assert_eq!(store.counts().await.unwrap().queued.get(ROUTE), Some(&49));
    attach(&store);
    assert_eq!(store.claim_requests(100).await.unwrap().rows.len(), 49);
}

pub(super) async fn resend_after_unknown_commit_is_idempotent(world: World) {
    let (store, faults) = world.open_faulty().await;
    attach(&store);
    faults.next(Fault::UnknownWritten);
    assert_eq!(store.submit(world.request("r")).await.unwrap(), Submitted::New);
    assert_eq!(store.submit(world.request("r")).await.unwrap(), Submitted::Known);
    faults.next(Fault::UnknownWritten);
    let claimed = store.claim_requests(1).await.unwrap().rows.remove(0);
    assert_eq!(claimed.claim.epoch, 1);
    faults.next(Fault::UnknownWritten);
    current(store.settle_request(claimed.claim.clone(), world.done(), vec![world.report("r")]).await);
    let again = store.settle_request(claimed.claim, world.done(), vec![world.report("r")]).await;
    assert_eq!(again.unwrap(), Settled::Stale);
    assert_eq!(store.deliveries("r").await.unwrap().len(), 1);
    // The store sends a pre-claimed row to the receiver, even if the commit of the row first had an unknown outcome.
    let mut held = store.attach_requests(vec![ROUTE.into()], std::sync::Arc::new(tokio::sync::Semaphore::new(1)));
    faults.next(Fault::UnknownWritten);
    submit(&store, world.request("pre-claimed")).await;
    assert_eq!(held.recv().await.unwrap().row.claim.id, id("pre-claimed"));
}

pub(super) async fn unknown_commit_that_failed_is_applied_again(world: World) {
    let (store, faults) = world.open_faulty().await;
    let claimed = running(&world, &store, "r").await;
    faults.next(Fault::UnknownLost);
    current(store.settle_request(claimed.claim, world.done(), vec![world.report("r")]).await);
    assert_eq!(store.deliveries("r").await.unwrap().len(), 1);
}

pub(super) async fn a_passing_failure_is_invisible(world: World) {
    let (store, faults) = world.open_faulty().await;
    for _ in 0..3 {
        faults.next(Fault::Transient);
    }
    submit(&store, world.request("r")).await;
    faults.next(Fault::Transient);
    store.post(vec![world.report("r")]).unwrap();
    store.barrier().await.unwrap();
    assert_eq!(store.deliveries("r").await.unwrap().len(), 1);
}

pub(super) async fn same_id_keeps_its_order_across_batches(world: World) {
    let (store, faults) = world.open_faulty().await;
    let before = faults.sizes().len();
    faults.hold();
    let other = NewRequest { body: "[]".into(), ..world.request("r") };
    let mut ops = vec![world.request("r"), other.clone(), world.request("r"), other];
    ops.extend((0..10).map(|n| world.request(&n.to_string())));
    let submits = join_all(ops.into_iter().map(|request| store.submit(request)));
    let (answers, ()) = tokio::join!(submits, async {
        faults.held().await;
        faults.release();
    });
    let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    let first = [Submitted::New, Submitted::Conflict, Submitted::Known, Submitted::Conflict];
    assert_eq!(answers[..4], first);
    assert!(answers[4..].iter().all(|answer| *answer == Submitted::New));
    assert_eq!(faults.sizes()[before..].iter().sum::<usize>(), 14);
}

pub(super) async fn what_waits_becomes_one_batch(world: World) {
    let (store, faults) = world.open_faulty().await;
    faults.hold();
    store.post(vec![world.report("first")]).unwrap();
    faults.held().await;
    for _ in 0..200 {
        store.post(vec![world.report("x")]).unwrap();
    }
    faults.release();
    store.barrier().await.unwrap();
    assert_eq!(faults.sizes(), [1, 201]);
}

pub(super) async fn cancelled_caller_does_not_undo_or_poison(world: World) {
    let (store, faults) = world.open_faulty().await;
    faults.hold();
    for n in 0..20 {
        let id = n.to_string();
        assert!(store.submit(world.request(&id)).now_or_never().is_none());
    }
    faults.held().await;
    faults.release();
    store.barrier().await.unwrap();
    assert_eq!(store.counts().await.unwrap().queued.get(ROUTE), Some(&20));
    submit(&store, world.request("after")).await;
}

pub(super) async fn backpressure_never_blocks_settle(mut world: World) {
    world.options.queue = 4;
    let (store, faults) = world.open_faulty().await;
    let claimed = running(&world, &store, "r").await;
    faults.hold();
    store.post(vec![world.report("x")]).unwrap();
    faults.held().await;
    while store.post(vec![world.report("x")]).is_ok() {}
    // The queue for new operations is full. Settlements have a separate queue, so the next batch has this one.
    let mut settled = Box::pin(store.settle_request(claimed.claim, world.done(), vec![world.report("r")]));
    assert!(settled.as_mut().now_or_never().is_none());
    let batches = faults.sizes().len();
    faults.release();
    current(settled.await);
    assert!(faults.sizes().len() <= batches + 2);
}

pub(super) async fn a_full_queue_refuses_posts_and_delays_submits(mut world: World) {
    world.options.queue = 3;
    world.options.queue_bytes = 100_000;
    let (store, faults) = world.open_faulty().await;
    faults.hold();
    store.post(vec![world.report("x")]).unwrap();
    faults.held().await;
    store.post(vec![world.report("x"), world.report("x")]).unwrap();
    assert!(matches!(store.post(vec![world.report("x")]), Err(Error::Full)));
    let mut waits = Box::pin(store.submit(world.request("r")));
    let mut waits_too = Box::pin(store.post_durably(vec![world.report("x")]));
    assert!(waits.as_mut().now_or_never().is_none());
    assert!(waits_too.as_mut().now_or_never().is_none());
    faults.release();
    assert_eq!(waits.await.unwrap(), Submitted::New);
    waits_too.await.unwrap();
    // The queue has a limit in bytes. An operation above this limit is accepted only if no other operation waits.
    let large = || NewRequest { body: vec![0; 200_000].into(), ..world.request("large") };
    assert_eq!(store.submit(large()).await.unwrap(), Submitted::New);
    faults.hold();
    let mut large = Box::pin(store.submit(large()));
    assert!(large.as_mut().now_or_never().is_none());
    faults.held().await;
    assert!(matches!(store.post(vec![world.report("x")]), Err(Error::Full)));
    faults.release();
    assert_eq!(large.await.unwrap(), Submitted::Known);
}

pub(super) async fn a_flood_to_one_origin_leaves_room_for_others(mut world: World) {
    world.options.queue = 64;
    let (store, faults) = world.open_faulty().await;
    faults.hold();
    store.post(vec![world.report("first")]).unwrap();
    faults.held().await;
    let flood = (0..64).take_while(|_| store.post(vec![world.report("flood")]).is_ok()).count();
    assert!((50..=56).contains(&flood), "{flood} of 64 places went to one origin");
    let other = || {
        let webhook = Webhook::new("https://other.example/hooks").unwrap();
        NewReport::to(webhook, "other", Bytes::from_static(b"{}"), world.now())
    };
    store.post(vec![other()]).unwrap();
    assert!(matches!(store.post(vec![world.report("flood")]), Err(Error::Full)));
    store.post(vec![other()]).unwrap();
    faults.release();
    assert_eq!(store.barrier().await.unwrap(), flood as u64 + 3);
}

pub(super) async fn a_durable_post_that_is_dropped_without_room_is_counted(mut world: World) {
    world.options.queue = 1;
    let (store, faults) = world.open_faulty().await;
    faults.hold();
    store.post(vec![world.report("x")]).unwrap();
    faults.held().await;
    assert!(store.post_durably(vec![world.report("x"), world.report("x")]).now_or_never().is_none());
    assert_eq!(store.counters().given_up, 2);
    // A report that is already in the queue is written, even after its caller has dropped the future. A report that the
    // closed store refuses is counted as lost by its caller. So the store's own counter stays at 2.
    faults.release();
    store.barrier().await.unwrap();
    faults.hold();
    assert!(store.post_durably(vec![world.report("x")]).now_or_never().is_none());
    faults.held().await;
    faults.release();
    store.close().await;
    assert!(store.post_durably(vec![world.report("x")]).await.is_err());
    assert_eq!(store.counters().given_up, 2);
}

pub(super) async fn settlements_wait_while_very_many_bytes_do(world: World) {
    let (store, faults) = world.open_faulty().await;
    attach(&store);
    for n in 0..3 {
        submit(&store, world.request(&n.to_string())).await;
    }
    let claims: Vec<_> = store.claim_requests(3).await.unwrap().rows.into_iter().map(|row| row.claim).collect();
    let large = Outcome::completed(Some(Json::stored(vec![b'1'; 40 << 20])), world.now());
    faults.hold();
    store.post(vec![world.report("x")]).unwrap();
    faults.held().await;
    let mut first = Box::pin(store.settle_request(claims[0].clone(), large.clone(), vec![]));
    let mut second = Box::pin(store.settle_request(claims[1].clone(), large, vec![]));
    assert!(first.as_mut().now_or_never().is_none());
    assert!(second.as_mut().now_or_never().is_none());
    // `close` commits the operations in the queue, and refuses operations that wait for free space in the queue.
    let mut close = Box::pin(store.close());
    assert!(close.as_mut().now_or_never().is_none());
    faults.release();
    close.await;
    current(first.await);
    assert!(matches!(second.await, Err(Error::Closed)));
}

pub(super) async fn barrier_counts_what_was_posted_before_it(world: World) {
    let store = world.open().await;
    assert_eq!(store.barrier().await.unwrap(), 0);
    for n in 1..=3 {
        store.post(vec![world.report("x"), world.report("x")]).unwrap();
        assert_eq!(store.barrier().await.unwrap(), 2 * n);
        assert_eq!(store.deliveries("x").await.unwrap().len() as u64, 2 * n);
    }
}

pub(super) async fn close_commits_what_waits(world: World) {
    let (store, faults) = world.open_faulty().await;
    faults.hold();
    let mut submitted = Box::pin(store.submit(world.request("r")));
    assert!(submitted.as_mut().now_or_never().is_none());
    faults.held().await;
    store.post(vec![world.report("x")]).unwrap();
    let mut barrier = Box::pin(store.barrier());
    assert!(barrier.as_mut().now_or_never().is_none());
    let mut close = Box::pin(store.close());
    assert!(close.as_mut().now_or_never().is_none());
    faults.release();
    close.await;
    assert_eq!(submitted.await.unwrap(), Submitted::New);
    assert_eq!(barrier.await.unwrap(), 1);
}

pub(super) async fn a_durable_post_whose_caller_is_gone_outlasts_the_failure(world: World) {
    let (store, faults) = world.open_faulty().await;
    faults.set_down(true);
    let posted = store.post_durably(vec![world.report("kept")]);
    assert!({ Box::pin(posted) }.as_mut().now_or_never().is_none());
    let submitted = store.submit(world.request("kept"));
    assert!({ Box::pin(submitted) }.as_mut().now_or_never().is_none());
    // After some seconds, the store refuses an operation whose caller waits, and keeps one whose caller is gone.
    let since = std::time::Instant::now();
    assert!(matches!(store.post_durably(vec![world.report("refused")]).await, Err(Error::Backend(_))));
    assert!(since.elapsed() >= std::time::Duration::from_secs(4));
    faults.set_down(false);
    store.barrier().await.unwrap();
    assert_eq!(store.deliveries("kept").await.unwrap().len(), 1);
    assert!(store.request(&id("kept")).await.unwrap().is_some());
    assert!(store.deliveries("refused").await.unwrap().is_empty());
    assert_eq!(store.counters().given_up, 0);
}

pub(super) async fn what_a_dead_writer_had_is_counted(world: World) {
    let (store, faults) = world.open_faulty().await;
    faults.hold();
    store.post(vec![world.report("in the batch")]).unwrap();
    faults.held().await;
    store.post(vec![world.report("a"), world.report("b")]).unwrap();
    let gone = store.post_durably(vec![world.report("gone")]);
    assert!({ Box::pin(gone) }.as_mut().now_or_never().is_none());
    let waiting = store.post_durably(vec![world.report("waiting")]);
    let mut waiting = Box::pin(waiting);
    assert!(waiting.as_mut().now_or_never().is_none());
    faults.panic();
    faults.release();
    assert!(matches!(waiting.await, Err(Error::Closed)));
    store.close().await;
    assert_eq!(store.counters().given_up, 4);
}

pub(super) async fn nobody_waits_for_a_writer_that_has_ended(world: World) {
    let (store, faults) = world.open_faulty().await;
    let held = store.attach_reports(std::sync::Arc::new(tokio::sync::Semaphore::new(1)));
    faults.panic();
    let (submitted, claimed) = tokio::join!(store.submit(world.request("r")), store.claim_reports(1));
    assert!(matches!(submitted, Err(Error::Closed)));
    assert!(matches!(claimed, Err(Error::Closed)));
    assert!(matches!(store.post(vec![world.report("x")]), Err(Error::Closed)));
    assert!({ held }.recv().await.is_none());
    store.close().await;
}

pub(super) async fn close_is_final_and_twice_is_once(world: World) {
    let store = world.open().await;
    let mut held = store.attach_reports(std::sync::Arc::new(tokio::sync::Semaphore::new(1)));
    tokio::join!(store.close(), store.close());
    store.close().await;
    assert!(held.recv().await.is_none());
    assert!(matches!(store.submit(world.request("r")).await, Err(Error::Closed)));
    assert!(matches!(store.post(vec![world.report("x")]), Err(Error::Closed)));
    assert!(matches!(store.claim_requests(1).await, Err(Error::Closed)));
    assert!(matches!(store.barrier().await, Err(Error::Closed)));
    assert!(matches!(store.request(&id("r")).await, Err(Error::Closed)));
}

/// Tests with a paused tokio clock and the memory backend. A paused clock does not wait for the threads of SQLite.
mod patience {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn callers_of_a_failing_store_get_an_error_and_it_recovers() {
        let world = World::memory();
        let (store, faults) = world.open_faulty().await;
        faults.set_down(true);
        store.post(vec![world.report("kept")]).unwrap();
        assert!(matches!(store.submit(world.request("r")).await, Err(Error::Backend(_))));
        assert!(matches!(store.claim_reports(1).await, Err(Error::Backend(_))));
        faults.set_down(false);
        // No caller waits for the result of `post`, so the store keeps its report until the backend works again.
        store.barrier().await.unwrap();
        assert_eq!(store.deliveries("kept").await.unwrap().len(), 1);
        assert!(store.request(&id("r")).await.unwrap().is_none());
        submit(&store, world.request("r")).await;
    }

    #[tokio::test(start_paused = true)]
    async fn callers_without_room_get_an_error_too() {
        let mut world = World::memory();
        world.options.queue = 2;
        let (store, faults) = world.open_faulty().await;
        faults.set_down(true);
        store.post(vec![world.report("x"), world.report("x")]).unwrap();
        let waits = store.submit(world.request("r"));
        let settle = store.put_back_request(crate::record::Claim { id: id("x"), epoch: 1 });
        let (waits, settle) = tokio::join!(waits, settle);
        assert!(matches!(waits, Err(Error::Backend(_))));
        assert!(matches!(settle, Err(Error::Backend(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn close_does_not_wait_for_better_times() {
        let world = World::memory();
        let (store, faults) = world.open_faulty().await;
        faults.set_down(true);
        store.post(vec![world.report("x")]).unwrap();
        store.close().await;
    }
}

mod bounds {
    use super::*;
    use crate::Location;
    use crate::record::Next;

    #[tokio::test]
    async fn memory_holds_so_many_undelivered_reports() {
        let mut world = World::memory();
        world.options.place = Location::Memory { reports: 2, bytes: 1 << 20, kept: 10_000 };
        let store = world.open().await;
        assert!(!store.is_durable());
        store.post(vec![world.report("x"), world.report("x")]).unwrap();
        assert!(matches!(store.post(vec![world.report("x")]), Err(Error::Full)));
        assert!(matches!(store.post_durably(vec![world.report("x")]).await, Err(Error::Full)));
        // There is no space for another report. The outcome is stored, and its report is stored with the state refused.
        let claimed = running(&world, &store, "r").await;
        current(store.settle_request(claimed.claim, world.done(), vec![world.report("r")]).await);
        assert!(store.deliveries("r").await.unwrap()[0].refused.is_some());
        let row = store.claim_reports(1).await.unwrap().rows.remove(0);
        current(store.settle_report(row.claim, world.attempt(200), Next::Delivered).await);
        store.post(vec![world.report("x")]).unwrap();
    }

    #[tokio::test]
    async fn memory_keeps_so_many_finished_rows() {
        let world = World::memory();
        let store = world.open().await;
        let refused = || crate::NewReport { refused: Some("no".into()), ..world.report("x") };
        let first = refused();
        store.post_durably(vec![first.clone()]).await.unwrap();
        assert_eq!(store.deliveries("x").await.unwrap()[0].id, first.id);
        store.post_durably((0..10_000).map(|_| refused()).collect()).await.unwrap();
        assert_ne!(store.deliveries("x").await.unwrap()[0].id, first.id);
    }
}
