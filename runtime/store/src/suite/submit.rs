//! Submitting requests.

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use http::HeaderValue;

use super::world::{ROUTE, World, attach, current, id, running, submit};
use crate::record::{NewRequest, RequestState, Submitted};

pub(super) async fn submit_then_get_is_queued(world: World) {
    let store = world.open().await;
    submit(&store, world.request("r")).await;
    let record = store.request(&id("r")).await.unwrap().unwrap();
    assert_eq!((record.state, record.route.as_str()), (RequestState::Queued, ROUTE));
    assert_eq!(record.id, id("r"));
    assert!(store.request(&id("other")).await.unwrap().is_none());
}

pub(super) async fn submit_same_id_same_body_returns_same(world: World) {
    let store = world.open().await;
    submit(&store, world.request("r")).await;
    assert_eq!(store.submit(world.request("r")).await.unwrap(), Submitted::Known);
    assert_eq!(store.counts().await.unwrap().queued.get(ROUTE), Some(&1));
}

pub(super) async fn submit_same_id_other_body_conflicts(world: World) {
    let store = world.open().await;
    submit(&store, world.request("r")).await;
    let other_body = NewRequest { body: Bytes::from_static(b"[]"), ..world.request("r") };
    let other_route = NewRequest { route: "/b".into(), ..world.request("r") };
    for other in [other_body, other_route] {
        assert_eq!(store.submit(other).await.unwrap(), Submitted::Conflict);
    }
    attach(&store);
    let claimed = store.claim_requests(10).await.unwrap().rows;
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].body, "{}");
}

pub(super) async fn same_id_conflicts_after_settled_until_retention(world: World) {
    let store = world.open().await;
    let claimed = running(&world, &store, "r").await;
    current(store.settle_request(claimed.claim, world.done(), vec![]).await);
    let other = || NewRequest { body: Bytes::from_static(b"[]"), ..world.request("r") };
    assert_eq!(store.submit(other()).await.unwrap(), Submitted::Conflict);
    assert_eq!(store.submit(world.request("r")).await.unwrap(), Submitted::Known);
    world.advance(std::time::Duration::from_secs(1));
    assert_eq!(store.purge(world.now(), 10).await.unwrap(), 1);
    assert_eq!(store.submit(other()).await.unwrap(), Submitted::New);
}

pub(super) async fn ids_are_bytes_exact(world: World) {
    let store = world.open().await;
    let ids = ["a", "A", "a.b", "a-b", "a_b", "1", "01", "1.0", &"x".repeat(128), &format!("{}X", "x".repeat(127))];
    for id in ids {
        submit(&store, world.request(id)).await;
    }
    attach(&store);
    let claimed = store.claim_requests(100).await.unwrap().rows;
    let claimed: Vec<&str> = claimed.iter().map(|row| row.claim.id.as_str()).collect();
    assert_eq!(claimed, ids);
    for row in ids {
        assert_eq!(store.request(&id(row)).await.unwrap().unwrap().id.as_str(), row);
    }
}

pub(super) async fn body_and_headers_are_byte_exact(world: World) {
    let store = world.open().await;
    attach(&store);
    let bodies: [&[u8]; 4] = [b"", b"a\0b", b"\xff\xfe\x80", &vec![7; 300_000]];
    for (n, body) in bodies.into_iter().enumerate() {
        let mut request = NewRequest { body: Bytes::copy_from_slice(body), ..world.request(&n.to_string()) };
        request.headers.append("x-twice", HeaderValue::from_static("a: b"));
        request.headers.append("x-twice", HeaderValue::from_bytes(b"\xff").unwrap());
        let expected = request.headers.clone();
        submit(&store, request).await;
        let claimed = store.claim_requests(1).await.unwrap().rows.remove(0);
        assert_eq!(claimed.body, body);
        assert_eq!(claimed.headers, expected);
        assert_eq!((claimed.route.as_str(), claimed.created), (ROUTE, world.now()));
    }
}

pub(super) async fn concurrent_same_id_one_winner(world: World) {
    let store = world.open().await;
    let answers = join_all((0..50).map(|_| store.submit(world.request("r")))).await;
    let new = answers.iter().filter(|answer| matches!(answer, Ok(Submitted::New))).count();
    let known = answers.iter().filter(|answer| matches!(answer, Ok(Submitted::Known))).count();
    assert_eq!((new, known), (1, 49));
}

pub(super) async fn many_rows_in_one_batch(world: World) {
    // SQLite inserts rows in chunks of 512, 64, 8 and 1. This test writes 251 requests and 700 reports, so that chunks
    // of each size are used. A batch has at most 256 rows, unless one operation alone has more.
    let (store, faults) = world.open_faulty().await;
    faults.hold();
    store.post(vec![world.report("first")]).unwrap();
    faults.held().await;
    let mut submits: Vec<_> = (0..251).map(|n| Box::pin(store.submit(world.request(&format!("r-{n}"))))).collect();
    for submit in &mut submits {
        // After a task has done much work in one poll, tokio's futures return `Pending`, so that the task pauses.
        // `unconstrained` prevents the pause.
        assert!(tokio::task::unconstrained(submit).now_or_never().is_none());
    }
    faults.release();
    let answers = join_all(submits).await;
    assert_eq!(faults.sizes(), [1, 251]);
    assert!(answers.iter().all(|answer| matches!(answer, Ok(Submitted::New))));
    assert_eq!(store.counts().await.unwrap().queued.get(ROUTE), Some(&251));
    attach(&store);
    let claimed = store.claim_requests(1_000).await.unwrap().rows;
    let claimed: Vec<String> = claimed.iter().map(|row| row.claim.id.to_string()).collect();
    assert_eq!(claimed, (0..251).map(|n| format!("r-{n}")).collect::<Vec<_>>());
    store.post_durably((0..700).map(|_| world.report("many")).collect()).await.unwrap();
    let reports = store.claim_reports(1_000).await.unwrap().rows;
    assert_eq!(reports.iter().filter(|report| &*report.subject == "many").count(), 700);
}
