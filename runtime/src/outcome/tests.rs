//! What is reported of a call, made with the function or with the attribute. The sink is a recorder.

mod attribute;
mod drops;
mod recorder;

use std::cell::Cell;
use std::fmt;
use std::future::{pending, ready};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Waker};

use futures_util::FutureExt;
use serde::{Serialize, Serializer};

use self::recorder::{Recorder, report_outcome};
use crate::poster::Loss;
use crate::poster::ambient::Role;
use postback_wire::report::{Ends, Reason, Status};

const URL: &str = "https://example.com/hooks";

/// A value that implements neither `Debug` nor `Display` nor `Error`.
struct Opaque(u8);

fn refused() -> Result<u8, String> {
    Err("no such file".to_owned())
}

/// A value of user code that fails: it returns errors or panics when it is formatted, serialised or used as a webhook.
#[derive(Debug)]
enum Bad {
    Unserializable,
    Panics,
}

impl Serialize for Bad {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Unserializable => Err(serde::ser::Error::custom("not today")),
            Self::Panics => panic!("in Serialize"),
        }
    }
}

impl fmt::Display for Bad {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unserializable => Err(fmt::Error),
            Self::Panics => panic!("in Display"),
        }
    }
}

impl postback_wire::webhook::IntoWebhook for Bad {
    fn add_to(&self, _: &mut postback_wire::webhook::Webhooks) {
        panic!("in IntoWebhook");
    }
}

fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) {
    assert!(future.poll(&mut Context::from_waker(Waker::noop())).is_pending());
}

#[tokio::test]
async fn ok_is_completed_with_its_result() {
    let recorder = Recorder::install(Role::Posted);
    let value = report_outcome(URL, "id-1", ready(Ok::<_, ()>(vec![1, 2]))).await;
    assert_eq!(value, Ok(vec![1, 2]));
    assert_eq!(recorder.began(), [format!("id-1 {URL}")]);
    let [ended] = recorder.ended().try_into().unwrap();
    assert_eq!((ended.id.as_str(), ended.role, ended.durably), ("id-1", Role::Posted, false));
    assert_eq!(
        ended.report,
        r#"{"id":"id-1","status":"completed","result":[1,2],"timestamp":"1970-01-01T00:00:07.000000Z"}"#
    );
}

#[tokio::test]
async fn err_is_failed_without_detail_and_returned_untouched() {
    let recorder = Recorder::install(Role::Posted);
    let error = report_outcome(URL, "id-1", ready(Err::<(), _>(Opaque(7)))).await.unwrap_err();
    assert_eq!(error.0, 7);
    let [ended] = recorder.ended().try_into().unwrap();
    assert_eq!((ended.outcome.reason, ended.outcome.detail), (Reason::Error, None));
    assert_eq!(ended.report, r#"{"id":"id-1","status":"failed"}"#);
}

#[tokio::test]
async fn the_error_is_told_as_asked_for() {
    let recorder = Recorder::install(Role::Posted);
    let _ = report_outcome(URL, 1, ready(refused())).error_display().await;
    let _ = report_outcome(URL, 2, ready(refused())).error_debug().await;
    let _ = report_outcome(URL, 3, ready(refused())).error_with(String::len).await;
    let _ = report_outcome(URL, 5, ready(refused())).error_with(|error| error.len() * 2).await;
    let _ = report_outcome(URL, 6, ready(refused())).error_reason().await;
    assert_eq!(
        recorder.reports(),
        [
            r#"{"id":"1","status":"failed","reason":"error","error":"no such file"}"#,
            r#"{"id":"2","status":"failed","reason":"error","error":"\"no such file\""}"#,
            r#"{"id":"3","status":"failed","reason":"error","error":12}"#,
            r#"{"id":"5","status":"failed","reason":"error","error":24}"#,
            r#"{"id":"6","status":"failed","reason":"error"}"#,
        ]
    );
    let details: Vec<_> = recorder.ended().into_iter().map(|ended| ended.outcome.detail).collect();
    assert_eq!(details, [Some("no such file".to_owned()), Some("\"no such file\"".to_owned()), None, None, None]);
}

#[tokio::test]
async fn the_reason_is_told_of_each_way_to_fail() {
    let recorder = Recorder::install(Role::Posted);
    let boom: fn() -> Result<(), ()> = || panic!("of the body");
    let call = report_outcome(URL, 1, async { boom() }).error_reason();
    AssertUnwindSafe(call).catch_unwind().await.unwrap_err();
    let all = Ends::FAILED.with(Ends::DROPPED);
    let mut dropped = Box::pin(report_outcome(URL, 2, pending::<Result<(), ()>>()).error_reason().on(all));
    assert!(dropped.as_mut().now_or_never().is_none());
    drop(dropped);
    assert_eq!(
        recorder.reports(),
        [r#"{"id":"1","status":"failed","reason":"panic"}"#, r#"{"id":"2","status":"failed","reason":"dropped"}"#]
    );
}

#[tokio::test]
async fn the_result_is_told_as_asked_for() {
    let recorder = Recorder::install(Role::Posted);
    let _ = report_outcome(URL, 1, ready(Ok::<_, ()>(Opaque(3)))).without_result().await;
    let _ = report_outcome(URL, 2, ready(Ok::<_, ()>(Opaque(3)))).result_with(|it| it.0).await;
    let results: Vec<_> = recorder.ended().into_iter().map(|ended| ended.outcome.result).collect();
    assert_eq!(results[0], None);
    assert_eq!(results[1].as_ref().unwrap().bytes(), "3");
}

#[tokio::test]
async fn a_panic_is_reported_and_goes_on() {
    let recorder = Recorder::install(Role::Posted);
    let call = report_outcome(URL, "id-1", async {
        tokio::task::yield_now().await;
        let boom: fn() -> Result<(), ()> = || panic!("of the body");
        boom()
    })
    .on(Ends::FAILED.with(Ends::DROPPED));
    let payload = AssertUnwindSafe(call).catch_unwind().await.unwrap_err();
    assert_eq!(*payload.downcast::<&str>().unwrap(), "of the body");
    let [ended] = recorder.ended().try_into().unwrap();
    assert_eq!((ended.outcome.status, ended.outcome.reason), (Status::Failed, Reason::Panic));
}

#[test]
fn a_drop_half_way_is_reported_only_where_asked_for() {
    for (role, on, reported) in [
        (Role::Posted, Ends::default(), false),
        (Role::Posted, Ends::default().with(Ends::DROPPED), true),
        (Role::Held, Ends::default().with(Ends::DROPPED), false),
    ] {
        let recorder = Recorder::install(role);
        let mut call = Box::pin(report_outcome(URL, "id-1", pending::<Result<(), ()>>()).on(on));
        poll_once(call.as_mut());
        drop(call);
        let reasons: Vec<_> = recorder.ended().into_iter().map(|ended| ended.outcome.reason).collect();
        assert_eq!(reasons, if reported { vec![Reason::Dropped] } else { vec![] }, "{role:?} {on:?}");
        assert_eq!(recorder.began().len(), 1);
    }
}

#[test]
fn what_is_never_polled_is_unknown_to_the_sink() {
    let recorder = Recorder::install(Role::Posted);
    drop(report_outcome(URL, "id-1", pending::<Result<(), ()>>()).on(Ends::DROPPED));
    drop(report_outcome(&Bad::Panics, "id-1", pending::<Result<(), ()>>()));
    assert!(recorder.began().is_empty() && recorder.ended().is_empty() && recorder.lost().is_empty());
}

#[tokio::test]
async fn an_unserializable_result_is_lost_when_posted_and_a_failure_when_held() {
    for (bad, loss) in [(Bad::Unserializable, Loss::Unserializable), (Bad::Panics, Loss::Panicked)] {
        let recorder = Recorder::install(Role::Posted);
        let value = report_outcome(URL, "id-1", ready(Ok::<_, ()>(bad))).await;
        assert_eq!(recorder.lost(), [(loss, "id-1".to_owned())]);
        assert!(recorder.ended().is_empty());

        let recorder = Recorder::install(Role::Held);
        report_outcome(URL, "id-1", ready(value)).await.unwrap();
        let [ended] = recorder.ended().try_into().unwrap();
        assert_eq!((ended.outcome.status, ended.outcome.reason), (Status::Failed, Reason::Unserializable));
        assert!(ended.outcome.detail.unwrap().contains("serialis"));
        assert!(recorder.lost().is_empty());
    }
}

#[tokio::test]
async fn an_error_that_cannot_be_told_is_still_a_failure() {
    let recorder = Recorder::install(Role::Posted);
    let _ = report_outcome(URL, 1, ready(Err::<(), _>(Bad::Panics))).error_display().await;
    let _ = report_outcome(URL, 2, ready(Err::<(), _>(Bad::Unserializable))).error_display().await;
    let _ = report_outcome(URL, 3, ready(Err::<(), _>(Bad::Unserializable))).error_with(|_| Bad::Unserializable).await;
    let _ = report_outcome(URL, 4, ready(Err::<(), _>(()))).error_with(|()| -> u8 { panic!("in the function") }).await;
    let bare = |id| format!(r#"{{"id":"{id}","status":"failed","reason":"error"}}"#);
    assert_eq!(recorder.reports(), [bare(1), bare(2), bare(3), bare(4)]);
}

#[tokio::test]
async fn a_panic_in_webhook_or_id_leaves_the_call_unreported() {
    let recorder = Recorder::install(Role::Posted);
    assert_eq!(report_outcome(&Bad::Panics, "id-1", ready(Ok::<_, ()>(1))).await, Ok(1));
    assert_eq!(report_outcome(URL, &Bad::Panics, ready(Ok::<_, ()>(2))).await, Ok(2));
    assert_eq!(recorder.lost(), [(Loss::Panicked, "id-1".to_owned()), (Loss::Panicked, String::new())]);
    assert!(recorder.began().is_empty() && recorder.ended().is_empty());
}

#[tokio::test]
async fn what_nobody_wants_is_not_serialised() {
    for (role, on, wanted) in [
        (Role::Ignored, Ends::default(), false),
        (Role::Posted, Ends::FAILED, false),
        (Role::Posted, Ends::COMPLETED, true),
        (Role::Held, Ends::FAILED, true),
    ] {
        Recorder::install(role);
        let asked = Rc::new(Cell::new(false));
        let view = |it: &Rc<Cell<bool>>| it.set(true);
        report_outcome(URL, 1, ready(Ok::<_, ()>(asked.clone()))).on(on).result_with(view).await.unwrap();
        assert_eq!(asked.get(), wanted, "{role:?} {on:?}");
    }
}

#[tokio::test]
async fn a_call_without_webhooks_begins_too() {
    let recorder = Recorder::install(Role::Held);
    report_outcome(&None::<String>, "id-1", ready(Ok::<_, ()>(1))).await.unwrap();
    // The sink of this test gets an empty id, because a call without a webhook needs its id only if a request with this
    // id is running. Here no such request is running.
    assert_eq!(recorder.began(), [""]);
    assert_eq!(recorder.ended().len(), 1);
}

#[tokio::test]
async fn each_of_nested_calls_reports_its_own_end_inner_first() {
    let recorder = Recorder::install(Role::Posted);
    let inner = report_outcome(URL, "inner", ready(refused()));
    let outer = report_outcome(URL, "outer", async { inner.await.or(Ok::<_, ()>(0)) });
    assert_eq!(outer.await, Ok(0));
    assert_eq!(recorder.ids(), ["inner", "outer"]);

    let on = Ends::DROPPED;
    let inner = report_outcome(URL, "inner", pending::<Result<(), ()>>()).on(on);
    let mut outer = Box::pin(report_outcome(URL, "outer", inner).on(on));
    poll_once(outer.as_mut());
    drop(outer);
    assert_eq!(recorder.ids(), ["inner", "outer", "inner", "outer"]);
}

#[tokio::test]
async fn durable_returns_when_the_sink_says_that_it_is_safe() {
    let recorder = Recorder::install(Role::Posted);
    {
        let mut call = pin!(report_outcome(URL, "id-1", ready(Ok::<_, ()>(5))).durable());
        poll_once(call.as_mut());
        assert!(recorder.ended()[0].durably);
        poll_once(call.as_mut());
        recorder.safe();
        assert_eq!(call.await, Ok(5));
    }
    assert_eq!(recorder.ended().len(), 1);
}

#[tokio::test]
async fn durable_does_not_wait_for_the_worker_that_holds_the_outcome() {
    let recorder = Recorder::install(Role::Held);
    report_outcome(URL, "id-1", ready(Ok::<_, ()>(5))).durable().await.unwrap();
    assert!(!recorder.ended()[0].durably);
}

#[test]
fn it_is_send_and_unwind_safe_as_its_body_is() {
    fn same<T: Send + Sync + std::panic::UnwindSafe + Unpin>(_: &T) {}
    fn send<T: Send>(_: &T) {}
    let call = report_outcome(URL, "id-1", ready(Ok::<u8, ()>(1))).error_debug().without_result();
    same(&call);
    // The future that `report_outcome` returns is `Send`, although its result is not `Send`.
    send(&report_outcome(URL, "id-1", async { Ok::<_, ()>(Rc::new(1)) }));
}

#[test]
fn it_grows_the_future_by_a_constant() {
    let sizes = |body: usize, call: usize| call - body;
    let small = async { Ok::<_, ()>(1_u8) };
    let (body, call) = (size_of_val(&small), size_of_val(&report_outcome(URL, 1, small)));
    let grown = sizes(body, call);
    // The future that `report_outcome` returns is larger than its body mostly because it contains the webhooks of the
    // call. If the webhooks were on the heap, each call would need one more allocation.
    assert!(grown <= 128, "{grown}");
    let large = async {
        let kept = [0_u8; 4096];
        tokio::task::yield_now().await;
        Ok::<_, [u64; 64]>(kept.len())
    };
    let (body, call) = (size_of_val(&large), size_of_val(&report_outcome(URL, 1, large)));
    assert!(sizes(body, call) <= grown + 8, "{}", sizes(body, call));
}
