//! Tests how bodies share their memory.

use axum::body::Body;
use futures_util::FutureExt as _;
use futures_util::stream::{self, StreamExt as _};

use super::*;

const LIMIT: usize = 1 << 20;
const SECOND: Duration = Duration::from_secs(1);

fn piece(bytes: usize) -> Bytes {
    Bytes::from(vec![b'x'; bytes])
}

/// Makes a body that arrives in these pieces.
fn body(pieces: impl stream::Stream<Item = Bytes> + Send + 'static) -> Body {
    Body::from_stream(pieces.map(Ok::<_, std::io::Error>))
}

/// Makes a body of `pieces` pieces of `bytes` bytes each, with a pause before each piece. After the last piece, the
/// body sends nothing, but is not at its end.
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

/// Makes a body of which the first `bytes` bytes arrive immediately. After these bytes, the body sends nothing, but is
/// not at its end.
fn stuck(bytes: usize) -> Body {
    body(stream::iter([piece(bytes)]).chain(stream::pending()))
}

async fn read(memory: &Arc<BodyMemory>, body: Body) -> Result<(Bytes, Share), Refused> {
    memory.read(body, None).await
}

fn free(memory: &BodyMemory) -> (usize, usize) {
    let pools = memory.lock();
    (pools.small.free, pools.large.free)
}

#[tokio::test(start_paused = true)]
async fn a_share_is_what_has_come_and_is_given_back() {
    let memory = BodyMemory::with_limits(LIMIT, LIMIT, LIMIT);
    let reading = read(&memory, stuck(300_000));
    {
        tokio::pin!(reading);
        assert!(reading.as_mut().now_or_never().is_none());
        assert_eq!(free(&memory), (LIMIT, LIMIT - 300_000), "only the bytes that have come");
    }
    assert_eq!(free(&memory), (LIMIT, LIMIT));
    let (body, share) = read(&memory, Body::from(vec![1; 1_000])).await.unwrap();
    assert_eq!((body.len(), free(&memory)), (1_000, (LIMIT - 1_000, LIMIT)));
    drop(share);
    assert_eq!(free(&memory), (LIMIT, LIMIT));
    assert!(memory.lock().bodies.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stands_still_or_drips_is_cut_off() {
    let memory = BodyMemory::with_limits(LIMIT, LIMIT, LIMIT);
    for body in [stuck(6), stuck(900_000), slow(1_000, 1, SECOND / 2), slow(1_000, 100, SECOND)] {
        let begun = Instant::now();
        assert_eq!(read(&memory, body).await.err(), Some(Refused::TooSlow));
        assert!(begun.elapsed() < 12 * SECOND, "{:?}", begun.elapsed());
    }
    // This body arrives at the minimum rate, but takes longer than the time that a body of this length may take in all.
    let begun = Instant::now();
    let refused = memory.read(slow(1_000, MIN_BYTES_PER_SECOND + 1, SECOND), Some(64 << 10)).await.err();
    assert_eq!((refused, begun.elapsed()), (Some(Refused::TooSlow), MIN_TIME + SECOND));
    assert_eq!(free(&memory), (LIMIT, LIMIT));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_slow_and_steady_gets_in() {
    let memory = BodyMemory::with_limits(LIMIT, LIMIT, LIMIT);
    let pieces = slow(50, 20_000, SECOND).into_data_stream().take(50);
    let (body, _) = read(&memory, Body::from_stream(pieces)).await.unwrap();
    assert_eq!(body.len(), 1_000_000);
}

#[tokio::test(start_paused = true)]
async fn a_small_body_gets_in_at_once_however_many_large_ones_stand_still() {
    let memory = BodyMemory::with_limits(LIMIT, LIMIT, 2 * LIMIT);
    let mut stuck: Vec<_> = (0..30).map(|_| Box::pin(read(&memory, stuck(LIMIT - 1)))).collect();
    for reading in &mut stuck {
        assert!(reading.now_or_never().is_none());
    }
    let small = read(&memory, Body::from(vec![b'x'; SMALL]));
    assert!(small.now_or_never().is_some_and(|read| read.is_ok()));
}

#[tokio::test(start_paused = true)]
async fn who_is_slow_gives_way_to_who_is_not() {
    let memory = BodyMemory::with_limits(LIMIT, LIMIT, 2 * LIMIT);
    let (a, b, c) = (read(&memory, stuck(900_000)), read(&memory, stuck(800_000)), read(&memory, stuck(300_000)));
    tokio::pin!(a, b, c);
    for reading in [a.as_mut(), b.as_mut(), c.as_mut()] {
        assert!(reading.now_or_never().is_none());
    }
    let begun = Instant::now();
    let (large, gave_way) = tokio::join!(read(&memory, Body::from(vec![b'x'; 700_000])), a);
    assert_eq!((large.unwrap().0.len(), gave_way.err()), (700_000, Some(Refused::GaveWay)), "the largest");
    assert!(begun.elapsed() < 2 * SECOND);
    assert!(b.now_or_never().is_none() && c.now_or_never().is_none(), "no more than had to");
}

#[tokio::test(start_paused = true)]
async fn bodies_that_hold_a_part_and_wait_for_more_do_not_block_one_another_for_good() {
    let memory = BodyMemory::with_limits(LIMIT, LIMIT, 2 * LIMIT);
    // First, two thirds of each of the three bodies arrive. After that, there is not enough memory for the last third
    // of a body.
    let halves = |n: u32| async move {
        tokio::time::sleep(n * SECOND / 10).await;
        piece(LIMIT * 2 / 3)
    };
    let parts = |n| body(stream::once(halves(n)).chain(stream::iter([piece(LIMIT / 3)])));
    let begun = Instant::now();
    let reads = (0..3).map(|n| read(&memory, parts(n)).map(|read| read.map(|(body, _)| body.len())));
    let read = futures_util::future::join_all(reads).await;
    assert!(begun.elapsed() <= MAX_WAIT + SECOND, "{:?}", begun.elapsed());
    let whole = read.iter().filter(|read| read.is_ok()).count();
    assert!(whole >= 2 && read.iter().all(|read| read.is_ok() || *read == Err(Refused::NoMemory)), "{read:?}");
    assert_eq!(free(&memory), (LIMIT, 2 * LIMIT));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_was_read_is_nobody_who_is_slow() {
    let memory = BodyMemory::with_limits(LIMIT, LIMIT, LIMIT);
    let (_, share) = read(&memory, Body::from(vec![b'x'; LIMIT - 1])).await.unwrap();
    // The test does not drop the share of the memory, just as the API does not drop a share while the store stores the
    // body.
    let next = read(&memory, Body::from(vec![b'x'; LIMIT / 2]));
    tokio::pin!(next);
    assert!(tokio::time::timeout(4 * SECOND, next.as_mut()).await.is_err());
    drop(share);
    assert!(next.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn many_tiny_pieces_take_up_no_more_than_their_bytes() {
    let memory = BodyMemory::with_limits(LIMIT, LIMIT, LIMIT);
    let pieces = stream::iter((0..200_000).map(|_| piece(1)));
    let (body, _) = read(&memory, body(pieces)).await.unwrap();
    assert_eq!(body.len(), 200_000);
    assert_eq!(read(&memory, Body::from(vec![0; LIMIT + 1])).await.err(), Some(Refused::TooLarge));
}
