//! Values whose `Drop` panics, and a sink that panics: the user's panic goes on as without the attribute.

use std::panic::{AssertUnwindSafe, catch_unwind};

use futures_util::FutureExt as _;

use super::*;

/// A value whose `Drop` panics.
#[derive(Debug)]
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("in drop");
    }
}

/// Runs `code`, which must panic, and returns the text of the panic.
fn panic_of<T>(code: impl FnOnce() -> T) -> String {
    let payload = catch_unwind(AssertUnwindSafe(code)).err().expect("the code panics");
    (*payload.downcast::<&str>().unwrap()).to_owned()
}

fn reasons(recorder: &Recorder) -> Vec<Reason> {
    recorder.ended().into_iter().map(|ended| ended.outcome.reason).collect()
}

#[test]
fn a_panic_in_a_drop_within_the_body_is_reported_and_goes_on() {
    let recorder = Recorder::install(Role::Posted);
    let call = report_outcome(URL, "id-1", async {
        let _bomb = Bomb;
        Ok::<_, ()>(1)
    });
    assert_eq!(panic_of(|| call.now_or_never()), "in drop");
    assert_eq!(reasons(&recorder), [Reason::Panic]);
}

#[test]
fn a_panic_in_the_drop_of_an_unfinished_body_goes_on_and_the_drop_is_reported() {
    let recorder = Recorder::install(Role::Posted);
    let mut call = Box::pin(
        report_outcome(URL, "id-1", async {
            let _bomb = Bomb;
            pending::<Result<(), ()>>().await
        })
        .on(Ends::DROPPED),
    );
    poll_once(call.as_mut());
    assert_eq!(panic_of(|| drop(call)), "in drop");
    assert_eq!(reasons(&recorder), [Reason::Dropped]);
}

#[test]
fn a_panic_in_the_drop_of_the_output_is_the_callers_after_the_report() {
    let recorder = Recorder::install(Role::Posted);
    let output = report_outcome(URL, "id-1", ready(Ok::<_, ()>(Bomb))).without_result().now_or_never().unwrap();
    assert_eq!(recorder.ended()[0].outcome.status, Status::Completed);
    assert_eq!(panic_of(|| drop(output)), "in drop");
}

#[test]
fn a_panic_in_the_drop_of_what_a_function_shows_loses_the_report_alone() {
    let recorder = Recorder::install(Role::Posted);
    let shows_a_bomb = |_: &u8| {
        let _bomb = Bomb;
    };
    let call = report_outcome(URL, "id-1", ready(Ok::<_, ()>(1))).result_with(shows_a_bomb);
    assert_eq!(call.now_or_never().unwrap(), Ok(1));
    assert_eq!(recorder.lost(), [(Loss::Panicked, "id-1".to_owned())]);
}

#[test]
fn a_sink_that_panics_costs_the_report_alone() {
    let recorder = Recorder::install_panicking(Role::Posted);
    assert_eq!(report_outcome(URL, 1, ready(Ok::<_, ()>(1))).now_or_never().unwrap(), Ok(1));
    // The sink of this test panics while the panic of the body unwinds. The drop of the call's future must catch the
    // sink's panic, because otherwise this panic would abort the process.
    let boom: fn() -> Result<(), ()> = || panic!("of the body");
    assert_eq!(panic_of(|| report_outcome(URL, 2, async { boom() }).now_or_never()), "of the body");
    let mut dropped = Box::pin(report_outcome(URL, 3, pending::<Result<(), ()>>()).on(Ends::DROPPED));
    poll_once(dropped.as_mut());
    let panics_with_a_call = move || {
        let _dropped = dropped;
        panic!("of the caller");
    };
    assert_eq!(panic_of::<()>(panics_with_a_call), "of the caller");
    assert_eq!(recorder.began().len(), 3);
    assert!(recorder.ended().is_empty());
}
