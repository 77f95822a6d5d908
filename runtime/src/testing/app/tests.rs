//! Tests of the app inside a test. The clock is tokio's, and paused.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::handler::{Batch, HandlerError, IntoHandlerError as _, Payload, State};

type Runs = Arc<AtomicU32>;

/// Fails until the third run, and asks for a day between the runs.
async fn third_time(runs: State<Runs>) -> Result<u32, HandlerError> {
    match runs.fetch_add(1, Ordering::SeqCst) + 1 {
        run @ 3.. => Ok(run),
        run => Err(format!("run {run}").retry_after(Duration::from_hours(24))),
    }
}

async fn never() -> Result<(), String> {
    std::future::pending().await
}

async fn panics(_: Payload<u8>) -> Result<(), String> {
    panic!("as the test says")
}

async fn double(batch: Batch<u32>) -> Vec<Result<u32, String>> {
    batch.iter().map(|item| item.payload.checked_mul(2).ok_or_else(|| "too large".to_owned())).collect()
}

fn app() -> App<()> {
    App::new(())
        .state(Runs::default())
        .route("/third", third_time)
        .max_attempts(5)
        .webhook("https://example.com/hooks")
        .route("/never", never)
        .timeout(Duration::from_hours(2))
        .route("/panics", panics)
        .batch("/double", 8, Duration::from_secs(1), double)
}

#[tokio::test(start_paused = true)]
async fn days_of_retries_take_no_time() {
    let (app, begun) = (TestApp::start(app()).await.unwrap(), std::time::Instant::now());
    let id = app.submit("/third", &()).await.unwrap();
    let finished = app.finished(&id).await.unwrap();
    assert_eq!((finished.result::<u32>().unwrap(), finished.runs()), (3, 2), "{finished:?}");
    assert_eq!((finished.status(), finished.reason()), (Status::Completed, None));
    let [report] = finished.reports() else { panic!("{:?}", finished.reports()) };
    assert_eq!((report.id(), report.result()), (id.as_str(), Some(&3.into())));
    assert!(begun.elapsed() < Duration::from_secs(20), "two days took {:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_came_instead_is_told() {
    let app = TestApp::start(app()).await.unwrap();
    let told = |error: TestError| error.to_string();
    assert!(
        told(app.submit("/x", &1).await.unwrap_err()).starts_with("there is no route /x; the routes are /double, ")
    );
    let refused = app.submit("/panics", "text").await.unwrap_err();
    assert!(told(refused).starts_with("the route /panics does not take the payload: "));
    assert!(
        told(app.submit_body("/panics", "text/plain", "1").await.unwrap_err()).contains("content-type is text/plain")
    );

    let failed = app.finished(&app.submit("/panics", &1).await.unwrap()).await.unwrap();
    assert_eq!((failed.failure().unwrap(), failed.reason()), ("it panicked: as the test says", Some(EndReason::Panic)));
    assert!(told(failed.result::<u8>().unwrap_err()).ends_with("failed after 0 runs: it panicked: as the test says"));

    let late = app.finished(&app.submit("/never", &()).await.unwrap()).await.unwrap();
    assert_eq!(late.failure().unwrap(), "it ran longer than 2 h 0 min (the timeout of its route)");

    let id = app.submit("/never", &()).await.unwrap();
    app.cancel(&id).await.unwrap();
    let cancelled = app.finished(&id).await.unwrap();
    assert_eq!((cancelled.status(), cancelled.reason()), (Status::Cancelled, Some(EndReason::Cancelled)));
    assert!(told(cancelled.failure().unwrap_err()).starts_with("the request did not fail: "));

    assert!(told(app.finished(&RequestId::generate()).await.unwrap_err()).starts_with("there is no request "));
    assert!(TestApp::start(App::new(()).route("a", never)).await.unwrap_err().to_string().contains("must start with"));
}

#[tokio::test(start_paused = true)]
async fn batches_are_collected() {
    let app = TestApp::start(app()).await.unwrap();
    let mut ids = Vec::new();
    for n in 0..20 {
        ids.push(app.submit("/double", &n).await.unwrap());
    }
    let results = futures_util::future::join_all(ids.iter().map(|id| app.finished(id))).await;
    let results: Vec<u32> = results.into_iter().map(|finished| finished.unwrap().result().unwrap()).collect();
    assert_eq!(results, (0..20).map(|n| n * 2).collect::<Vec<_>>());
}

#[cfg(feature = "cron")]
#[tokio::test(start_paused = true)]
async fn a_schedule_comes_at_its_time() {
    static NIGHTS: AtomicU32 = AtomicU32::new(0);
    async fn nightly() -> Result<(), String> {
        NIGHTS.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
    let _app = TestApp::start(App::new(()).cron("0 3 * * *", "Europe/Berlin", nightly)).await.unwrap();
    tokio::time::sleep(Duration::from_hours(24 * 3)).await;
    assert_eq!(NIGHTS.load(Ordering::SeqCst), 3);
}
