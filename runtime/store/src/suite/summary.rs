//! The summary of a request, and the pieces of its large JSON.

use bytes::Bytes;

use super::world::{World, current, id, running};
use crate::summary::{AT_ONCE, EndSummary};
use crate::{Member, RequestState, Stage, Store};
use postback_wire::report::{EndReason, Json, Outcome, Reason, Status};

const STEP: usize = 30_000;

/// Returns how a settled request ended, from the summary that the store has of it.
async fn end(store: &Store, of: &str) -> EndSummary {
    match store.summary(&id(of)).await.unwrap().unwrap().stage {
        Stage::Settled(end) => end,
        other => panic!("{other:?}"),
    }
}

async fn in_pieces(store: &Store, of: &str, member: Member) -> Vec<u8> {
    let mut read = Vec::new();
    while let Some(piece) = store.piece(&id(of), member, read.len(), STEP).await.unwrap() {
        if piece.is_empty() {
            break;
        }
        assert!(piece.len() <= STEP);
        read.extend_from_slice(&piece);
    }
    read
}

pub(super) async fn a_summary_says_what_the_record_says(world: World) {
    let store = world.open().await;
    assert!(store.summary(&id("r")).await.unwrap().is_none());
    let run = running(&world, &store, "r").await;
    let summary = store.summary(&id("r")).await.unwrap().unwrap();
    assert!(matches!(summary.stage, Stage::Running) && summary.route == run.route);
    current(store.put_back_request(run.claim).await);
    assert!(matches!(store.summary(&id("r")).await.unwrap().unwrap().stage, Stage::Queued));
    let run = store.claim_requests(1).await.unwrap().rows.remove(0);
    let error = Some(Json::string("no"));
    let outcome = Outcome { error, ..Outcome::failed(Reason::Error, Some("detail".to_owned()), world.now()) };
    current(store.settle_request(run.claim, outcome.clone(), vec![]).await);
    let EndSummary { status, reason, finished, result, error, is_elsewhere } = end(&store, "r").await;
    assert!(!is_elsewhere);
    assert_eq!((status, reason, finished, result.is_none()), (Status::Failed, None, world.now(), true));
    let error = error.unwrap();
    assert_eq!((error.len, error.whole), (4, Some(Bytes::from_static(b"\"no\""))));
    let RequestState::Settled(settled) = store.request(&id("r")).await.unwrap().unwrap().state else { panic!() };
    assert_eq!(settled, outcome);

    let ends = [
        (Outcome::failed(Reason::Timeout, None, world.now()), Some(EndReason::Timeout)),
        (Outcome::cancelled(world.now()), Some(EndReason::Cancelled)),
        (Outcome::completed(None, world.now()), None),
        (Outcome { reason: Reason::Elsewhere, ..Outcome::completed(Some(Json::string("x")), world.now()) }, None),
    ];
    for (n, (outcome, expected)) in ends.into_iter().enumerate() {
        let of = format!("end-{n}");
        let run = running(&world, &store, &of).await;
        let is_elsewhere = outcome.reason == Reason::Elsewhere;
        current(store.settle_request(run.claim, Outcome { tells_reason: true, ..outcome }, vec![]).await);
        let end = end(&store, &of).await;
        assert_eq!((end.reason, end.is_elsewhere), (expected, is_elsewhere), "{of}");
    }
}

pub(super) async fn what_is_large_is_read_in_pieces_until_it_is_purged(world: World) {
    let store = world.open().await;
    for (of, len) in [("small", AT_ONCE), ("large", AT_ONCE + 1), ("huge", 500_000)] {
        // Each `ü` has two bytes. The store divides the text by bytes, so a piece of the text may end in the middle of
        // an `ü`.
        let text = format!("\"{}{}\"", "ü".repeat((len - 2) / 2), if len % 2 == 1 { "x" } else { "" });
        assert_eq!(text.len(), len);
        let run = running(&world, &store, of).await;
        let outcome = Outcome::completed(Some(Json::stored(text.clone().into_bytes())), world.now());
        current(store.settle_request(run.claim, outcome, vec![]).await);
        let result = end(&store, of).await.result.unwrap();
        assert_eq!((result.len, result.whole.is_some()), (len, len <= AT_ONCE), "{of}");
        assert_eq!(in_pieces(&store, of, Member::Result).await, text.as_bytes(), "{of}");
        assert!(store.piece(&id(of), Member::Error, 0, STEP).await.unwrap().is_none());
    }
    assert_eq!(store.piece(&id("huge"), Member::Result, 499_999, STEP).await.unwrap().unwrap(), "\"");
    world.advance(std::time::Duration::from_secs(1));
    store.purge(world.now(), 10).await.unwrap();
    assert!(store.piece(&id("huge"), Member::Result, 0, STEP).await.unwrap().is_none(), "no piece is left");
}
