//! Tests answers whose result is read from the store while the client reads the answer.

use axum::body::to_bytes;
use tokio::sync::Semaphore;

use super::*;
use postback_store::{Location, NewRequest, Options, Settled};
use postback_wire::id::NodeId;
use postback_wire::report::{Json, Outcome, Reason};
use postback_wire::time::{Clock, Timestamp};

const LARGE: usize = 3 << 20;

async fn store() -> Store {
    let place = Location::Memory { reports: 100, bytes: 1 << 30, kept: 100 };
    Store::open(Options::at(place), NodeId::generate(), Clock::system()).await.unwrap()
}

/// Stores a request, settles the request with `outcome`, and returns the id of the request.
async fn settled(store: &Store, outcome: &Outcome) -> RequestId {
    let id = RequestId::generate();
    let _handed = store.attach_requests(vec!["/a".to_owned()], Arc::new(Semaphore::new(0)));
    store.submit(NewRequest::new(id.clone(), "/a", "", Timestamp::from_micros(0))).await.unwrap();
    let run = store.claim_requests(1).await.unwrap().rows.remove(0);
    assert_eq!(store.settle_request(run.claim, outcome.clone(), vec![]).await.unwrap(), Settled::Current);
    id
}

fn reader() -> Reader {
    Reader::of_post(None, &HeaderMap::new())
}

async fn answer(store: &Store, id: &RequestId) -> Result<Body, AnswerError> {
    let summary = store.summary(id).await.unwrap().unwrap();
    AnswerText::of(id, &summary, None).into_body(&AnswerMemory::new(), reader(), store).await.map(|coded| coded.body)
}

fn json(len: usize) -> Json {
    Json::string(&"ü\"".repeat(len / 4))
}

#[tokio::test]
async fn an_answer_is_the_bytes_of_the_report_whatever_its_size() {
    let store = store().await;
    let finished = Timestamp::from_micros(1_795_420_800_123_456);
    let failed = |error| Outcome { error, ..Outcome::failed(Reason::Error, Some("detail".to_owned()), finished) };
    let mut outcomes = vec![Outcome::completed(None, finished), Outcome::cancelled(finished), failed(None)];
    outcomes.extend(outcomes.clone().into_iter().map(|outcome| Outcome { tells_reason: true, ..outcome }));
    for len in [4, 8_000, 8_192, 16_000, 17_000, 300_000, LARGE] {
        outcomes.extend([Outcome::completed(Some(json(len)), finished), failed(Some(json(len)))]);
    }
    for outcome in outcomes {
        let id = settled(&store, &outcome).await;
        let body = answer(&store, &id).await.unwrap();
        let announced = HttpBody::size_hint(&body).exact().unwrap();
        let printed = to_bytes(body, usize::MAX).await.unwrap();
        assert_eq!(printed.strip_suffix(b"\n").unwrap(), outcome.to_report(id.as_str()), "{outcome:?}");
        assert_eq!(printed.len() as u64, announced);
    }
}

#[tokio::test]
async fn what_is_purged_meanwhile_ends_the_answer_before_its_length() {
    let store = store().await;
    let outcome = Outcome::completed(Some(Json::string(&"x".repeat(40 << 20))), Timestamp::from_micros(1));
    let id = settled(&store, &outcome).await;
    let body = answer(&store, &id).await.unwrap();
    store.purge(Timestamp::from_micros(2), 10).await.unwrap();
    let error = to_bytes(body, usize::MAX).await.unwrap_err();
    let mut causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
    assert!(causes.any(|cause| matches!(cause.downcast_ref(), Some(AnswerError::Purged))), "{error:?}");
}
