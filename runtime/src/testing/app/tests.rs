//! Tests of the app inside a test. The clock is tokio's, and paused.

mod progress;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::json;

use super::*;
use crate::handler::{Batch, HandlerError, IntoHandlerError as _, Payload, Query, Reply, State};
use crate::testing::Answer;
use postback_wire::report::EndReason;

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

async fn picture(size: Payload<usize>) -> Result<Reply, String> {
    Ok(Reply::new(vec![7; *size]).content_type("image/png"))
}

#[tokio::test]
async fn the_bytes_of_a_reply_can_be_read() {
    let app = TestApp::new(App::new(()).route("/picture", picture)).await.unwrap();
    for size in [3, 0] {
        let id = app.submit("/picture", &size).await.unwrap();
        let finished = app.finished(&id).await.unwrap();
        assert_eq!(finished.reply().unwrap().len(), size);
        let stored: StoredResult = finished.result().unwrap();
        assert_eq!((stored.size, &*stored.content_type), (size as u64, "image/png"));
    }
}

#[tokio::test(start_paused = true)]
async fn days_of_retries_take_no_time() {
    let app = TestApp::start(app()).await.unwrap();
    let id = app.submit("/third", &()).await.unwrap();
    let finished = app.finished(&id).await.unwrap();
    assert_eq!((finished.result::<u32>().unwrap(), finished.runs()), (3, 2), "{finished:?}");
    assert_eq!((finished.status(), finished.reason()), (Status::Completed, None));
    let [report] = finished.reports() else { panic!("{:?}", finished.reports()) };
    assert_eq!((report.id(), report.result()), (id.as_str(), Some(&3.into())));
}

#[tokio::test(start_paused = true)]
async fn what_came_instead_is_told() {
    let app = TestApp::start(app()).await.unwrap();
    let told = |error: TestError| error.to_string();
    assert!(
        told(app.submit("/x", &1).await.unwrap_err()).starts_with("there is no route /x; the routes are /double, ")
    );
    let refused = app.submit("/panics", "text").await.unwrap_err();
    assert!(told(refused).starts_with("the route /panics refuses the request: "));
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
async fn a_query_comes_after_the_path() {
    #[derive(serde::Deserialize)]
    struct Options {
        lang: String,
    }
    async fn greet(options: Query<Options>) -> Result<String, String> {
        Ok(options.into_inner().lang)
    }
    let app = TestApp::start(App::new(()).route("/greet", greet)).await.unwrap();
    let id = app.submit("/greet?lang=en", &()).await.unwrap();
    assert_eq!(app.finished(&id).await.unwrap().result::<String>().unwrap(), "en");
    let refused = app.submit("/greet", &()).await.unwrap_err().to_string();
    assert!(refused.contains("the query: missing field `lang`"), "{refused}");
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
    let app = TestApp::start(App::new(()).cron("0 3 * * *", "Europe/Berlin", nightly)).await.unwrap();
    app.pass(Duration::from_hours(24 * 3)).await;
    assert_eq!(NIGHTS.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn reports_come_signed_and_again_after_a_bad_answer() {
    let app = TestApp::new(app()).longest_wait(Duration::from_hours(60)).await.unwrap();
    let receiver = app.receiver();
    receiver.answer([Answer::hang(), Answer::reset(), 500.into(), Answer::status(503).header("retry-after", "7200")]);
    let (id, begun) = (app.submit("/third", &()).await.unwrap(), tokio::time::Instant::now());
    let hit = receiver.wait_for(|hit| hit.attempt() == 5).await.unwrap();
    assert_eq!((hit.id(), hit.status(), hit.result()), (id.as_str(), Some(Status::Completed), Some(&json!(3))));
    assert!(hit.is_signed() && hit.url().as_str() == "https://example.com/hooks", "{hit:?}");
    assert!(begun.elapsed() > Duration::from_hours(24 + 2), "the run and the receiver have asked for waits");
    let hits = receiver.hits();
    assert!(hits.len() == 5 && hits.iter().all(|hit| hit.webhook_id() == hits[0].webhook_id()), "{receiver:?}");
    assert!(hit.verify(&[postback_wire::secret::Secret::generate()]).is_err());

    // If the hit does not come, the error lists those that came.
    let never = receiver.wait_for(|hit| hit.id() == "x").await.unwrap_err().to_string();
    assert!(never.starts_with("no such hit came, after 3 days; 5 came, of these the last are:\n  {\"id\":"), "{never}");
    assert!(never.contains("attempt 1, signed, answered with no answer"), "{never}");
    assert!(never.contains("attempt 2, signed, answered with a closed connection"), "{never}");
}

type Gate = Arc<std::sync::Mutex<Option<tokio::sync::oneshot::Receiver<()>>>>;

async fn waits(gate: State<Gate>) -> Result<u8, String> {
    let gate = gate.lock().unwrap().take().ok_or("it runs twice")?;
    gate.await.map(|()| 7).map_err(|error| error.to_string())
}

#[tokio::test(start_paused = true)]
async fn a_failing_store_loses_nothing() {
    let (done, gate) = tokio::sync::oneshot::channel();
    let gate: Gate = Arc::new(std::sync::Mutex::new(Some(gate)));
    let app = App::new(()).state(gate).route("/waits", waits).webhook("https://example.com/hooks");
    let app = TestApp::start(app).await.unwrap();
    let id = app.submit("/waits", &()).await.unwrap();
    app.pass(Duration::from_secs(5)).await;
    app.fail_writes(true);
    done.send(()).unwrap();
    let refused = app.submit("/waits", &()).await.unwrap_err().to_string();
    assert!(refused.contains("it is not known whether the request was accepted"), "{refused}");
    app.pass(Duration::from_hours(1)).await;
    assert_eq!(app.receiver().hits().len(), 0);
    app.fail_reads(true);
    assert!(app.finished(&id).await.unwrap_err().to_string().contains("the test lets the store fail"));
    app.fail_reads(false);
    app.fail_writes(false);
    assert_eq!(app.finished(&id).await.unwrap().result::<u8>().unwrap(), 7);
    assert_eq!(app.receiver().wait_for(|hit| hit.id() == id.as_str()).await.unwrap().result(), Some(&json!(7)));
}

#[tokio::test(start_paused = true)]
async fn headers_and_settings_are_those_of_a_server() {
    let settings = "[worker]\nmax_attempts = 2\nretry_delay = \"1h\"\n[route.\"/panics\"]\nmax_attempts = 1\n";
    let app = App::new(()).route("/panics", panics).route("/never", never).timeout(Duration::from_hours(1));
    let app = TestApp::new(app.webhook("https://example.com/hooks").caller_webhook()).settings(settings).await.unwrap();
    let begun = tokio::time::Instant::now();
    let id = app.submit_with("/never", &[("postback-run-at", "+2d")], &()).await.unwrap();
    let finished = app.finished(&id).await.unwrap();
    assert_eq!((finished.reason(), finished.runs()), (Some(EndReason::Timeout), 1), "{finished:?}");
    let waited = begun.elapsed();
    assert!(waited >= Duration::from_hours(51) && waited < Duration::from_hours(52), "{waited:?}");

    // A caller's webhook reaches public addresses only, and is not signed.
    let webhook = |url| [("postback-webhook", url)];
    let told = app.submit_with("/never", &webhook("http://10.0.0.1/"), &()).await.unwrap_err().to_string();
    assert!(told.contains("may not reach"), "{told}");
    let id = app.submit_with("/never", &webhook("https://caller.example/"), &()).await.unwrap();
    app.cancel(&id).await.unwrap();
    let of_caller =
        |hit: &crate::testing::Hit| hit.id() == id.as_str() && hit.url().host_str() == Some("caller.example");
    let hit = app.receiver().wait_for(of_caller).await.unwrap();
    assert!(!hit.is_signed() && hit.status() == Some(Status::Cancelled), "{hit:?}");
    assert!(
        app.submit_with("/never", &[("a b", "c")], &()).await.unwrap_err().to_string().contains("not a valid header")
    );
    let wrong = TestApp::new(App::new(()).route("/never", never)).settings("[worker]\nmax_attempts = 0\n").await;
    assert!(wrong.unwrap_err().to_string().contains("worker.max_attempts"));
}
