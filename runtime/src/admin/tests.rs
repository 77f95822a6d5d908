//! Tests of what all calls of the operator's API have in common.

use axum::body::Body;
use futures_util::FutureExt as _;
use http::Method;
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::*;

#[tokio::test]
async fn a_change_goes_on_to_its_end_when_its_client_goes_away() {
    let tasks = Shutdown::new();
    let (go_on, gate) = tokio::sync::oneshot::channel();
    let (done, made) = tokio::sync::oneshot::channel();
    let change = async move {
        gate.await.map_err(|_| Problem::internal())?;
        done.send(()).map_err(|()| Problem::internal())
    };
    assert!(to_the_end(&tasks, change).now_or_never().is_none());
    go_on.send(()).unwrap();
    made.await.expect("the change is made, although nobody waits for it");
    tasks.finished().await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_takes_too_long_says_whether_it_may_have_changed_something() {
    let hangs = async || std::future::pending::<()>().await;
    let router: Router = Router::new().route("/x", get(hangs).post(hangs)).layer(from_fn(in_time));
    for (method, code) in [(Method::GET, "overloaded"), (Method::POST, "acceptance_unknown")] {
        let request = Request::builder().method(method).uri("/x").body(Body::empty()).unwrap();
        let answer = router.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), 503);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(problem["code"], code);
    }
}
