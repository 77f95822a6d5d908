//! What handlers ask about their runs: which one it is, how long it may take, and whether it is stopped.

use std::future::pending;
use std::sync::Mutex;

use super::*;
use crate::handler::{Attempt, CancelReason, Cancellation, Deadline};

/// Makes a handler that keeps what it is given, and goes on until it is stopped, or fails at once.
fn keeping<T: Send + 'static>(
    kept: &Arc<Mutex<Vec<T>>>,
    goes_on: bool,
) -> impl Fn(T) -> futures_util::future::BoxFuture<'static, Result<(), String>> + Send + Sync + 'static {
    let kept = Arc::clone(kept);
    move |given| {
        kept.lock().unwrap().push(given);
        Box::pin(async move { if goes_on { pending().await } else { Err("as every time".to_owned()) } })
    }
}

#[tokio::test]
async fn an_attempt_knows_its_number_and_how_the_last_one_failed() {
    let kept = Arc::<Mutex<Vec<Attempt>>>::default();
    let context = context_of(App::new(()).route("/a", keeping(&kept, false)), 3).await;
    submit(&context).await;
    for error in ["no model", "no memory"] {
        let row = claim(&context).await;
        run_of(&context, row.clone()).await;
        let due = context.outbox.clock().now();
        let _ = context.outbox.store().retry_request(row.claim, due, Some(error.to_owned())).await.unwrap();
    }
    run_it(&context, claim(&context).await).await;
    let attempts = kept.lock().unwrap();
    let expected =
        [Attempt::new(1, false), Attempt::new(2, false).after("no model"), Attempt::new(3, true).after("no memory")];
    assert_eq!(*attempts, expected);
}

/// Runs the handler alone, and leaves the request as it is.
async fn run_of(context: &Arc<Context>, row: ClaimedRequest) {
    let route = context.routes.get(&row.route).unwrap();
    let sink = Arc::new(sink(context, &row));
    let info = info(context, route, &row, None).await;
    let HandlerTask { task, .. } =
        handler_task::spawn(context, route, &row, (&sink, info), (a_slot(context), Arc::default()));
    let _ = task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_asks_why_a_run_is_stopped_is_told() {
    for reason in [CancelReason::Caller, CancelReason::Timeout, CancelReason::Shutdown] {
        let kept = Arc::<Mutex<Vec<Cancellation>>>::default();
        let app = App::new(()).route("/a", keeping(&kept, true)).timeout(Duration::from_secs(10));
        let context = context_of(app, 1).await;
        let id = submit(&context).await;
        let row = claim(&context).await;
        let stopping = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let cancellation = kept.lock().unwrap()[0].clone();
            assert!(!cancellation.is_cancelled());
            match reason {
                CancelReason::Caller => assert_eq!(cancel(&context, &id).await, Cancelled::Stopping),
                CancelReason::Shutdown => context.cut.stop(),
                CancelReason::Timeout => {}
            }
            // A task that the handler has started waits like this.
            cancellation.cancelled().await
        };
        let ((), told) = tokio::join!(run_it(&context, row), stopping);
        assert_eq!(told, reason);
    }
}

#[tokio::test]
async fn a_run_that_ends_by_itself_is_not_stopped() {
    let kept = Arc::<Mutex<Vec<Cancellation>>>::default();
    let context = context_of(App::new(()).route("/a", keeping(&kept, false)), 1).await;
    submit(&context).await;
    run_it(&context, claim(&context).await).await;
    assert_eq!(kept.lock().unwrap()[0].reason(), None);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_is_the_end_of_the_time_limit_of_the_run() {
    let kept = Arc::<Mutex<Vec<Deadline>>>::default();
    let limit = Duration::from_secs(10);
    let context = context_of(App::new(()).route("/a", keeping(&kept, true)).timeout(limit), 1).await;
    submit(&context).await;
    let begun = Instant::now();
    run_it(&context, claim(&context).await).await;
    assert!(begun.elapsed() >= limit);
    let deadline = kept.lock().unwrap()[0];
    let at = Instant::from_std(deadline.instant().unwrap());
    assert!((begun + limit..begun + limit + Duration::from_millis(10)).contains(&at));
    assert_eq!(deadline.remaining(), Duration::ZERO);
}
