//! How bodies share their room.

use axum::body::Body;
use futures_util::FutureExt as _;
use futures_util::stream::{self, StreamExt as _};

use super::*;

const LIMIT: usize = 1 << 20;
const SECOND: Duration = Duration::from_secs(1);

fn piece(bytes: usize) -> Bytes {
    Bytes::from(vec![b'x'; bytes])
}

/// A body that comes in these pieces.
fn body(pieces: impl stream::Stream<Item = Bytes> + Send + 'static) -> Body {
    Body::from_stream(pieces.map(Ok::<_, std::io::Error>))
}

/// Of these pieces, one after each pause; then it stands still.
fn slow(pieces: usize, bytes: usize, pause: Duration) -> Body {
    let pieces = stream::unfold(0, move |n| async move {
        if n == pieces {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(pause).await;
        Some((piece(bytes), n + 1))
    });
    body(pieces)
}

/// This many bytes and then nothing, without an end.
fn stuck(bytes: usize) -> Body {
    body(stream::iter([piece(bytes)]).chain(stream::pending()))
}

async fn read(intake: &Arc<Intake>, body: Body) -> Result<(Bytes, Share), Refused> {
    intake.read(body, None).await
}

fn free(intake: &Intake) -> (usize, usize) {
    let rooms = intake.lock();
    (rooms.small.free, rooms.large.free)
}

#[tokio::test(start_paused = true)]
async fn a_share_is_what_has_come_and_is_given_back() {
    let intake = Intake::of(LIMIT, LIMIT, LIMIT);
    let reading = read(&intake, stuck(300_000));
    {
        tokio::pin!(reading);
        assert!(reading.as_mut().now_or_never().is_none());
        assert_eq!(free(&intake), (LIMIT, LIMIT - 300_000), "not the largest body that there may be");
    }
    assert_eq!(free(&intake), (LIMIT, LIMIT));
    let (body, share) = read(&intake, Body::from(vec![1; 1_000])).await.unwrap();
    assert_eq!((body.len(), free(&intake)), (1_000, (LIMIT - 1_000, LIMIT)));
    drop(share);
    assert_eq!(free(&intake), (LIMIT, LIMIT));
    assert!(intake.lock().bodies.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stands_still_or_drips_is_cut_off() {
    let intake = Intake::of(LIMIT, LIMIT, LIMIT);
    for body in [stuck(6), stuck(900_000), slow(1_000, 1, SECOND / 2), slow(1_000, 100, SECOND)] {
        let begun = Instant::now();
        assert_eq!(read(&intake, body).await.err(), Some(Refused::TooSlow));
        assert!(begun.elapsed() < 12 * SECOND, "{:?}", begun.elapsed());
    }
    // At the least rate, but for longer than its length is worth.
    let begun = Instant::now();
    let refused = intake.read(slow(1_000, LEAST_RATE + 1, SECOND), Some(64 << 10)).await.err();
    assert_eq!((refused, begun.elapsed()), (Some(Refused::TooSlow), LEAST_TIME + SECOND));
    assert_eq!(free(&intake), (LIMIT, LIMIT));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_slow_and_steady_gets_in() {
    let intake = Intake::of(LIMIT, LIMIT, LIMIT);
    let pieces = slow(50, 20_000, SECOND).into_data_stream().take(50);
    let (body, _) = read(&intake, Body::from_stream(pieces)).await.unwrap();
    assert_eq!(body.len(), 1_000_000);
}

#[tokio::test(start_paused = true)]
async fn a_small_body_gets_in_at_once_however_many_large_ones_stand_still() {
    let intake = Intake::of(LIMIT, LIMIT, 2 * LIMIT);
    let mut stuck: Vec<_> = (0..30).map(|_| Box::pin(read(&intake, stuck(LIMIT - 1)))).collect();
    for reading in &mut stuck {
        assert!(reading.now_or_never().is_none());
    }
    let small = read(&intake, Body::from(vec![b'x'; SMALL]));
    assert!(small.now_or_never().is_some_and(|read| read.is_ok()));
}

#[tokio::test(start_paused = true)]
async fn who_is_behind_gives_way_to_who_is_not() {
    let intake = Intake::of(LIMIT, LIMIT, 2 * LIMIT);
    let (a, b, c) = (read(&intake, stuck(900_000)), read(&intake, stuck(800_000)), read(&intake, stuck(300_000)));
    tokio::pin!(a, b, c);
    for reading in [a.as_mut(), b.as_mut(), c.as_mut()] {
        assert!(reading.now_or_never().is_none());
    }
    let begun = Instant::now();
    let (large, gave_way) = tokio::join!(read(&intake, Body::from(vec![b'x'; 700_000])), a);
    assert_eq!((large.unwrap().0.len(), gave_way.err()), (700_000, Some(Refused::GaveWay)), "the largest");
    assert!(begun.elapsed() < 2 * SECOND);
    assert!(b.now_or_never().is_none() && c.now_or_never().is_none(), "no more than had to");
}

#[tokio::test(start_paused = true)]
async fn bodies_that_hold_a_part_and_wait_for_more_do_not_block_one_another_for_good() {
    let intake = Intake::of(LIMIT, LIMIT, 2 * LIMIT);
    // Each comes to two thirds, in this order, and none of them fits as a whole beside the others.
    let halves = |n: u32| async move {
        tokio::time::sleep(n * SECOND / 10).await;
        piece(LIMIT * 2 / 3)
    };
    let parts = |n| body(stream::once(halves(n)).chain(stream::iter([piece(LIMIT / 3)])));
    let begun = Instant::now();
    let reads = (0..3).map(|n| read(&intake, parts(n)).map(|read| read.map(|(body, _)| body.len())));
    let read = futures_util::future::join_all(reads).await;
    assert!(begun.elapsed() <= PATIENCE + SECOND, "{:?}", begun.elapsed());
    let whole = read.iter().filter(|read| read.is_ok()).count();
    assert!(whole >= 2 && read.iter().all(|read| read.is_ok() || *read == Err(Refused::NoRoom)), "{read:?}");
    assert_eq!(free(&intake), (LIMIT, 2 * LIMIT));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_was_read_is_nobody_who_is_behind() {
    let intake = Intake::of(LIMIT, LIMIT, LIMIT);
    let (_, share) = read(&intake, Body::from(vec![b'x'; LIMIT - 1])).await.unwrap();
    // It waits for the store, for long.
    let next = read(&intake, Body::from(vec![b'x'; LIMIT / 2]));
    tokio::pin!(next);
    assert!(tokio::time::timeout(4 * SECOND, next.as_mut()).await.is_err());
    drop(share);
    assert!(next.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn many_tiny_pieces_take_up_no_more_than_their_bytes() {
    let intake = Intake::of(LIMIT, LIMIT, LIMIT);
    let pieces = stream::iter((0..200_000).map(|_| piece(1)));
    let (body, _) = read(&intake, body(pieces)).await.unwrap();
    assert_eq!(body.len(), 200_000);
    assert_eq!(read(&intake, Body::from(vec![0; LIMIT + 1])).await.err(), Some(Refused::TooLarge));
}
