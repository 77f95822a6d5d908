//! Reports of a progress, by the clock of tokio, which is paused.

use super::*;
use crate::handler::Progress;
use crate::report_outcome;
use crate::testing::Hit;
use postback_wire::report::{Ends, LAST_SEQUENCE};

const URL: &str = "https://example.com/hooks";
const OTHER: &str = "https://other.example/hooks";
const STEP: Duration = Duration::from_millis(100);
const STEPS: u32 = 600;

/// Tells its progress for a minute.
async fn steps(progress: Progress, request_id: RequestId) -> Result<u32, String> {
    let run = async {
        for step in 0..STEPS {
            progress.report(f64::from(step) / f64::from(STEPS), format!("step {step}"));
            tokio::time::sleep(STEP).await;
        }
        Ok(STEPS)
    };
    let on = Ends::PROGRESS.with(Ends::COMPLETED).with(Ends::CANCELLED);
    report_outcome(&[URL, OTHER], &request_id, run).on(on).await
}

async fn started() -> TestApp {
    TestApp::start(App::new(()).route("/steps", steps)).await.unwrap()
}

fn is_progress(hit: &Hit) -> bool {
    hit.status() == Some(Status::Progress)
}

fn sequence(hit: &Hit) -> u64 {
    hit.json()["sequence"].as_u64().unwrap()
}

/// Waits for the end at both URLs. Returns the hits at each.
async fn both(app: &TestApp, id: &RequestId) -> [Vec<Hit>; 2] {
    let mut both = [URL, OTHER].map(|_| Vec::new());
    for (url, hits) in [URL, OTHER].into_iter().zip(&mut both) {
        let is_end = |hit: &Hit| hit.url().as_str() == url && !is_progress(hit);
        let end = app.receiver().wait_for(is_end).await.unwrap();
        assert_eq!((end.id(), sequence(&end)), (id.as_str(), LAST_SEQUENCE));
        // What is on its way comes before an hour is over.
        app.pass(Duration::from_hours(1)).await;
        hits.extend(app.receiver().hits().into_iter().filter(|hit| hit.url().as_str() == url));
        assert!(hits.is_sorted_by(|one, next| sequence(one) < sequence(next)), "{hits:?}");
        assert!(!is_progress(hits.last().unwrap()), "{hits:?}");
    }
    both
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_hangs_gets_few_and_delays_neither_others_nor_the_outcome() {
    let app = started().await;
    app.receiver().answer_with(|hit| {
        if is_progress(hit) && hit.url().as_str() == URL { Answer::hang() } else { Answer::status(204) }
    });
    let begun = tokio::time::Instant::now();
    let id = app.submit("/steps", &()).await.unwrap();
    let finished = app.finished(&id).await.unwrap();
    let took = begun.elapsed();
    assert_eq!(finished.reports().len(), 2, "a progress is no stored report");
    assert!(took < STEP * STEPS + Duration::from_secs(1), "{took:?}");
    let [hanging, other] = both(&app, &id).await;
    assert!((4..=8).contains(&hanging.len()), "4 seconds each, and pauses that grow: {}", hanging.len());
    assert!((100..=121).contains(&other.len()), "two in a second: {}", other.len());
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_fails_or_is_gone_gets_the_outcome_at_once() {
    // The attempts that fail begin after 0, 1, 3, 7, 15 and 31 seconds.
    for (status, least, most) in [(500, 5, 8), (410, 2, 2)] {
        let app = started().await;
        app.receiver().answer_with(move |hit| if is_progress(hit) { status } else { 204 });
        let id = app.submit("/steps", &()).await.unwrap();
        app.finished(&id).await.unwrap();
        let [first, second] = both(&app, &id).await;
        for hits in [first, second] {
            assert!((least..=most).contains(&hits.len()), "{status}: {}", hits.len());
            assert_eq!(hits.last().unwrap().attempt(), 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancel_and_the_form_of_the_settings() {
    let app = TestApp::new(App::new(()).route("/steps", steps)).settings("[delivery]\nformat = \"standard\"\n");
    let app = app.await.unwrap();
    let id = app.submit("/steps", &()).await.unwrap();
    let told = app.receiver().wait_for(|hit| hit.json()["type"] == "request.progress").await.unwrap();
    assert_eq!((&told.json()["data"]["id"], &told.json()["data"]["sequence"]), (&json!(id.as_str()), &json!(1)));
    app.cancel(&id).await.unwrap();
    app.receiver().wait_for(|hit| hit.json()["data"]["sequence"] == LAST_SEQUENCE).await.unwrap();
    app.pass(Duration::from_mins(10)).await;
    let last = app.receiver().hits().pop().unwrap();
    assert_eq!(last.json()["type"], "request.cancelled");
}

#[tokio::test(start_paused = true)]
async fn the_pauses_after_failures_begin_anew_when_a_receiver_works_again() {
    let app = started().await;
    let begun = tokio::time::Instant::now();
    // The receiver fails for 10 seconds, works for 20 seconds, and fails again.
    app.receiver().answer_with(move |hit| {
        let works = (10..30).contains(&begun.elapsed().as_secs());
        if works || !is_progress(hit) { 204 } else { 500 }
    });
    let id = app.submit("/steps", &()).await.unwrap();
    app.finished(&id).await.unwrap();
    let [hits, _] = both(&app, &id).await;
    // Until 10 s about 4 attempts, from 15 s until 30 s two in a second, and then about 5.
    assert!((30..=50).contains(&hits.len()), "{}", hits.len());
}

/// Tells its progress once, before its annotated call begins, which has more webhooks than get a progress.
async fn tells_early(progress: Progress, request_id: RequestId) -> Result<(), String> {
    progress.report(0.5, "early");
    tokio::time::sleep(Duration::from_secs(5)).await;
    let run = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        Ok(())
    };
    let urls: Vec<String> = (0..10).map(|n| format!("https://{n}.example/hooks")).collect();
    report_outcome(&urls, &request_id, run).on(Ends::PROGRESS.with(Ends::COMPLETED)).await
}

#[tokio::test(start_paused = true)]
async fn what_is_told_before_the_annotated_call_begins_is_sent_to_eight_webhooks() {
    let app = TestApp::start(App::new(()).route("/early", tells_early)).await.unwrap();
    let id = app.submit("/early", &()).await.unwrap();
    app.finished(&id).await.unwrap();
    app.pass(Duration::from_mins(1)).await;
    let (told, ends): (Vec<_>, Vec<_>) = app.receiver().hits().into_iter().partition(is_progress);
    assert_eq!((told.len(), ends.len()), (8, 10), "{told:?}");
    assert!(told.iter().all(|hit| hit.json()["progress"]["message"] == "early"), "{told:?}");
}
