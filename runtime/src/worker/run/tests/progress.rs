//! What runs tell about their progress, until their end and not after it. Time is paused.

use std::future::pending;

use tokio::sync::Notify;

use super::*;
use crate::handler::Progress;
use postback_store::{Progress as Stored, RunEnd};

async fn busy(progress: Progress) -> Result<(), String> {
    for n in 0..3_000 {
        progress.report(f64::from(n) / 3_000.0, n.to_string());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

async fn at_once(progress: Progress) -> Result<(), String> {
    for n in 0..100 {
        progress.report_with(1.0, "last", &n);
    }
    Err("as every time".to_owned())
}

async fn panics(progress: Progress) -> Result<(), String> {
    progress.report(0.1, "first");
    tokio::time::sleep(Duration::from_millis(10)).await;
    progress.report(1.0, "last");
    panic!("as every time")
}

/// Tells that it has begun, and never ends by itself.
async fn endless(progress: Progress, begun: State<Notify>) -> Result<(), String> {
    progress.report(0.1, "first");
    tokio::time::sleep(Duration::from_millis(10)).await;
    progress.report(0.9, "last");
    begun.notify_one();
    pending().await
}

async fn told(context: &Context, id: &RequestId) -> Stored {
    context.outbox.store().progress(id).await.unwrap().unwrap()
}

fn message(progress: &Stored) -> &str {
    progress.told.message.as_deref().unwrap()
}

#[tokio::test(start_paused = true)]
async fn two_writes_a_second_are_enough_and_the_last_one_is_among_them() {
    let context = context_of(App::new(()).route("/a", busy), 1).await;
    let id = submit(&context).await;
    run_it(&context, claim(&context).await).await;
    let progress = told(&context, &id).await;
    assert_eq!(message(&progress), "2999");
    // At least 3 s have passed, and somewhat more because a timer of 1 ms may take 2 ms.
    assert!((7..=14).contains(&progress.sequence), "{progress:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_told_last_is_stored_however_the_run_ends() {
    for app in [App::new(()).route("/a", at_once), App::new(()).route("/a", panics)] {
        let context = context_of(app, 1).await;
        let id = submit(&context).await;
        run_it(&context, claim(&context).await).await;
        assert_eq!(message(&told(&context, &id).await), "last");
        let record = context.outbox.store().request(&id).await.unwrap().unwrap();
        assert!(matches!(record.state, RequestState::Settled(_)));
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_stopped_run_has_told_is_stored() {
    let app = || App::new(()).state(Notify::new()).route("/a", endless);
    // This run reaches its time limit, half of which is over when the last report is made.
    let context = context_of(app().timeout(Duration::from_millis(20)), 1).await;
    let id = submit(&context).await;
    run_it(&context, claim(&context).await).await;
    assert_eq!(message(&told(&context, &id).await), "last");

    let context = context_of(app(), 1).await;
    let id = submit(&context).await;
    let row = claim(&context).await;
    let cancelling = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(message(&told(&context, &id).await), "first");
        assert_eq!(cancel(&context, &id).await, Cancelled::Stopping);
    };
    tokio::join!(run_it(&context, row), cancelling);
    is_cancelled_without_webhook(&context, &id).await;
    let progress = told(&context, &id).await;
    assert_eq!((message(&progress), progress.sequence), ("last", 2));
}

async fn is_cancelled_without_webhook(context: &Context, id: &RequestId) {
    let state = context.outbox.store().request(id).await.unwrap().unwrap().state;
    assert!(matches!(&state, RequestState::Settled(outcome) if outcome.status == Status::Cancelled), "{state:?}");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_put_back_keeps_what_it_has_told() {
    let context = context_of(App::new(()).state(Notify::new()).route("/a", endless), 1).await;
    let id = submit(&context).await;
    let row = claim(&context).await;
    let stopping = async {
        // The first report is stored, and the second one waits for half a second.
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(message(&told(&context, &id).await), "first");
        context.cut.stop();
    };
    tokio::join!(run_it(&context, row), stopping);
    assert_eq!(message(&told(&context, &id).await), "last");
    let timeline = context.outbox.store().timeline(&id).await.unwrap().unwrap();
    assert_eq!(timeline.runs.iter().map(|run| run.end).collect::<Vec<_>>(), [RunEnd::PutBack]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_told_after_the_end() {
    let given = Arc::new(std::sync::Mutex::new(None));
    let handler = {
        let given = Arc::clone(&given);
        move |progress: Progress| {
            progress.report(0.5, "in the run");
            *given.lock().unwrap() = Some(progress);
            async { Ok::<(), String>(()) }
        }
    };
    let context = context_of(App::new(()).route("/a", handler), 1).await;
    let id = submit(&context).await;
    run_it(&context, claim(&context).await).await;
    let late: Progress = given.lock().unwrap().take().unwrap();
    late.report(0.9, "after the end");
    tokio::time::sleep(Duration::from_secs(5)).await;
    let progress = told(&context, &id).await;
    assert_eq!((message(&progress), progress.sequence), ("in the run", 1));
}
