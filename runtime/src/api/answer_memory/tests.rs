//! Tests how answers share their memory.

use futures_util::FutureExt as _;

use super::*;
use crate::api::open_connections::OpenConnections;

const MIB: usize = 1 << 20;

fn connection() -> Arc<Connection> {
    OpenConnections::new(100).admit([127, 0, 0, 1].into(), Instant::now()).unwrap()
}

/// Makes an answer with a window, which is the buffered part of the answer, of at most `left` bytes. Returns the handle
/// of the answer, the size of the window, and the connection of the answer.
async fn reading(answers: &Arc<AnswerMemory>, left: usize) -> (Arc<AnswerSlot>, usize, Arc<Connection>) {
    let connection = connection();
    let slot = answers.enter(Some(Arc::clone(&connection)), 0).await.unwrap();
    let bytes = slot.reserve_window(left).await.unwrap();
    slot.fill_window(Bytes::from(vec![b'x'; bytes]));
    (slot, bytes, connection)
}

fn free(answers: &AnswerMemory) -> isize {
    answers.lock().free
}

#[tokio::test(start_paused = true)]
async fn windows_are_as_large_as_the_room_allows_and_leave_some() {
    let answers = AnswerMemory::new();
    let mut held = Vec::new();
    // The clock does not advance during this loop. So no client counts as slow, and no answer loses its buffered part.
    loop {
        let connection = connection();
        let slot = answers.enter(Some(connection), 0).await.unwrap();
        let Some(bytes) = slot.reserve_window(100 * MIB).now_or_never().flatten() else { break };
        slot.fill_window(Bytes::from(vec![b'x'; bytes]));
        held.push((slot, bytes));
    }
    assert_eq!(held[0].1, MAX_WINDOW);
    assert_eq!(held.last().unwrap().1, MIN_WINDOW);
    let free_now = free(&answers);
    assert!(free_now >= RESERVE && free_now < RESERVE + MIN_WINDOW.cast_signed(), "{free_now}");
    assert!(answers.enter(None, MIB).now_or_never().flatten().is_some(), "a small one gets out");
    drop(held);
    assert_eq!(free(&answers), LIMIT);
    assert!(answers.lock().slots.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_piece_counts_until_it_is_written() {
    let answers = AnswerMemory::new();
    let (slot, bytes, _) = reading(&answers, 3 * PIECE).await;
    assert_eq!(bytes, 3 * PIECE);
    let pieces: Vec<_> = std::iter::from_fn(|| slot.next_piece()).collect();
    assert_eq!((pieces.len(), pieces[0].len()), (3, PIECE));
    assert_eq!(free(&answers), LIMIT - 3 * PIECE.cast_signed(), "the window is gone, its pieces are not");
    drop(slot);
    assert_eq!(free(&answers), LIMIT - 3 * PIECE.cast_signed(), "and the slot does not free them");
    drop(pieces);
    assert_eq!((free(&answers), answers.lock().slots.len()), (LIMIT, 0));
}

#[tokio::test(start_paused = true)]
async fn what_does_not_move_loses_its_window_to_what_does() {
    let answers = AnswerMemory::with_limit(RESERVE + MIB.cast_signed());
    let mut still = Vec::new();
    for _ in 0..4 {
        still.push(reading(&answers, MIN_WINDOW).await);
    }
    let begun = Instant::now();
    let (moves, bytes, _) = reading(&answers, MIB).await;
    assert!(bytes >= MIN_WINDOW && begun.elapsed() < Duration::from_secs(1));
    assert!(moves.next_piece().is_some());
    assert!(still.iter().any(|(slot, _, _)| slot.next_piece().is_none()), "it has to be read again");
    assert!(still.iter().all(|(slot, _, connection)| !slot.is_ended() && !connection.cut.is_cancelled()));
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_is_cut_off_when_there_is_no_room_otherwise() {
    let answers = AnswerMemory::with_limit(MIB.cast_signed());
    let (a, b) = (connection(), connection());
    let large = answers.enter(Some(Arc::clone(&a)), 700_000).await.unwrap();
    let small = answers.enter(Some(Arc::clone(&b)), 200_000).await.unwrap();
    let begun = Instant::now();
    let wanted = answers.enter(Some(connection()), 300_000);
    let freed = async {
        a.cut.cancelled().await;
        drop(large);
    };
    assert!(tokio::join!(wanted, freed).0.is_some());
    assert!(begun.elapsed() < Duration::from_secs(2) && !b.cut.is_cancelled());
    drop(small);
}

#[tokio::test(start_paused = true)]
async fn what_moves_too_slowly_is_over_and_takes_its_connection_with_it() {
    let answers = AnswerMemory::new();
    let (slot, _, connection) = reading(&answers, MIB).await;
    let _call = connection.call();
    let begun = Instant::now();
    while begun.elapsed() < 5 * STALL_LIMIT {
        drop(slot.next_piece().unwrap());
        answers.sweep(Instant::now());
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    assert!(!slot.is_ended());
    let unread = slot.next_piece();
    for _ in 0..12 {
        tokio::time::advance(Duration::from_secs(1)).await;
        answers.sweep(Instant::now());
    }
    assert!(slot.is_ended() && connection.cut.is_cancelled());
    assert_eq!(free(&answers), LIMIT - PIECE.cast_signed(), "its window went at once");
    drop(unread);
}
