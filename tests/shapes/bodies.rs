//! Tests function bodies with control flow, recursion, nested calls, and values that are not `Send`.

use std::cell::RefCell;
use std::num::ParseIntError;
use std::rc::Rc;

use postback::async_handler;

use crate::support::{Config, completed, completed_without_result, failed, send, url};

#[derive(Debug, PartialEq, Eq)]
struct TooFar(String);

impl From<ParseIntError> for TooFar {
    fn from(error: ParseIntError) -> Self {
        Self(error.to_string())
    }
}

#[async_handler(webhook = config.webhook_url)]
async fn flow(config: &Config, text: &str, request_id: &str) -> Result<u32, TooFar> {
    let mut n: u32 = text.parse()?;
    if n == 0 {
        return Ok(0);
    }
    'outer: loop {
        for step in 1..4 {
            n = n.saturating_add(1);
            if n > 50 {
                break 'outer;
            }
            if step == 2 && n < 9 {
                continue 'outer;
            }
        }
        let made = async {
            tokio::task::yield_now().await;
            Err::<u32, _>(TooFar("inner".to_owned()))?;
            Ok::<_, TooFar>(n)
        };
        if made.await == Err(TooFar("inner".to_owned())) && n > 3 {
            return Err(TooFar(n.to_string()));
        }
        n += 3;
    }
    Ok(n)
}

#[tokio::test]
async fn control_flow_stays() {
    let config = Config::new();
    assert_eq!(flow(&config, "0", "flow-0").await, Ok(0));
    completed("flow-0", 0);
    assert_eq!(flow(&config, "x", "flow-1").await, Err(TooFar("invalid digit found in string".to_owned())));
    failed("flow-1");
    assert_eq!(flow(&config, "1", "flow-2").await, Err(TooFar("10".to_owned())));
    failed("flow-2");
    assert_eq!(flow(&config, "100", "flow-3").await, Ok(101));
    completed("flow-3", 101);
}

#[async_handler(webhook = url(), request_id = format!("deep-{depth}"))]
async fn deep(depth: u8) -> Result<u8, ()> {
    match depth {
        0 => Ok(0),
        _ => Box::pin(deep(depth - 1)).await.map(|sum| sum + depth),
    }
}

#[tokio::test]
async fn each_of_several_nested_calls_reports_its_own() {
    assert_eq!(send(deep(3)).await, Ok(6));
    for (depth, sum) in [(0, 0), (1, 1), (2, 3), (3, 6)] {
        completed(&format!("deep-{depth}"), sum);
    }
}

#[async_handler(webhook = config.webhook_url)]
#[expect(clippy::future_not_send, reason = "the test needs a future that is not `Send`")]
async fn not_send(config: Config, log: Rc<RefCell<Vec<u8>>>, request_id: &str) -> Result<usize, ()> {
    log.borrow_mut().push(1);
    tokio::task::yield_now().await;
    Ok(log.borrow().len())
}

#[tokio::test]
async fn a_body_that_is_not_send_runs_on_a_local_set() {
    let log = Rc::new(RefCell::new(Vec::new()));
    let tasks = tokio::task::LocalSet::new();
    let config = Config::new();
    let task = tasks.spawn_local(async move { not_send(config, log, "not-send").await });
    tasks.await;
    assert_eq!(task.await.unwrap(), Ok(1));
    completed("not-send", 1);
}

#[async_handler(webhook = config.webhook_url)]
async fn not_sync(config: Config, cell: std::cell::Cell<u8>, request_id: &str) -> Result<u8, ()> {
    tokio::task::yield_now().await;
    Ok(cell.into_inner())
}

#[tokio::test]
async fn an_argument_that_is_not_sync_keeps_the_future_send() {
    assert_eq!(send(not_sync(Config::new(), 3.into(), "not-sync")).await, Ok(3));
    completed("not-sync", 3);
}

mod shadow {
    /// A type with the name of the function's return type, but a different type.
    pub(super) struct Out(pub(super) u8);
}

type Out = Result<u8, String>;

#[async_handler(webhook = config.webhook_url)]
async fn imports(config: &Config, request_id: &str) -> Out {
    use shadow::*;
    enum String {}
    let nothing = None::<String>;
    Ok(if nothing.is_none() { Out(8).0 } else { 0 })
}

#[tokio::test]
async fn names_that_the_body_brings_along_are_its_own() {
    assert_eq!(imports(&Config::new(), "imports").await, Ok(8));
    completed("imports", 8);
}

macro_rules! chain {
    ($last:ident) => {
        #[async_handler(webhook = Option::<String>::None, request_id = 1)]
        async fn $last(config: Config) -> Result<usize, ()> {
            tokio::task::yield_now().await;
            Ok(config.webhook_url.len())
        }
    };
    ($first:ident $second:ident $($more:ident)*) => {
        #[async_handler(webhook = Option::<String>::None, request_id = 1)]
        async fn $first(config: Config) -> Result<usize, ()> {
            $second(config).await
        }
        chain!($second $($more)*);
    };
}

chain!(c1 c2 c3 c4 c5 c6 c7 c8 c9 c10 c11 c12);

#[tokio::test]
async fn twelve_calls_deep_the_compiler_still_sees_that_the_future_is_send() {
    assert!(send(c1(Config::new())).await.is_ok());
}

#[async_handler(webhook = config.webhook_url)]
async fn todo(config: &Config, request_id: &str) -> Result<u8, String> {
    unimplemented!("{request_id}")
}

#[tokio::test]
async fn a_body_may_never_come_to_its_end() {
    let config = Config::new();
    let call = tokio::spawn(async move { todo(&config, "todo").await });
    assert!(call.await.unwrap_err().is_panic());
    failed("todo");
}

#[async_handler(webhook = config.webhook_url, on = [completed, failed, dropped])]
async fn endless(config: &Config, request_id: &str) -> Result<(), ()> {
    loop {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_future_dropped_half_way_is_reported_if_asked_for() {
    let config = Config::new();
    tokio::select! {
        biased;
        _ = endless(&config, "endless") => unreachable!(),
        () = tokio::task::yield_now() => {}
    }
    failed("endless");
}

struct Noted(&'static str, Rc<RefCell<Vec<&'static str>>>);

impl Drop for Noted {
    fn drop(&mut self) {
        self.1.borrow_mut().push(self.0);
    }
}

#[async_handler(webhook = config.webhook_url)]
#[expect(clippy::future_not_send, reason = "the test needs `Rc` to record the order of drops")]
async fn drops(
    config: &Config,
    used: Noted,
    _unused: Noted,
    _: Noted,
    also: Noted,
    request_id: &str,
) -> Result<(), ()> {
    let _local = Noted("local", Rc::clone(&also.1));
    assert!(Rc::strong_count(&used.1) > 0);
    Ok(())
}

#[tokio::test]
async fn what_has_no_name_is_dropped_last() {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let noted = |name| Noted(name, Rc::clone(&seen));
    drops(&Config::new(), noted("used"), noted("unused"), noted("ignored"), noted("also"), "drops").await.unwrap();
    completed_without_result("drops");
    // A plain function would drop the unnamed parameter `ignored` between its neighbours `also` and `unused`.
    assert_eq!(*seen.borrow(), ["local", "also", "unused", "used", "ignored"]);
}

#[expect(clippy::unused_async, clippy::future_not_send, reason = "this function is `drops` without the attribute")]
async fn plainly_drops(_: &Config, _used: Noted, _unused: Noted, _: Noted, _also: Noted, _: &str) {}

#[tokio::test]
async fn of_a_call_that_is_never_polled_the_arguments_are_dropped_as_in_a_plain_function() {
    let (seen, seen_plain) = (Rc::new(RefCell::new(Vec::new())), Rc::new(RefCell::new(Vec::new())));
    let config = Config::new();
    let noted = |name| Noted(name, Rc::clone(&seen));
    drop(drops(&config, noted("1"), noted("2"), noted("3"), noted("4"), "never"));
    let noted = |name| Noted(name, Rc::clone(&seen_plain));
    drop(plainly_drops(&config, noted("1"), noted("2"), noted("3"), noted("4"), "never"));
    assert_eq!(seen, seen_plain);
    assert_eq!(seen.borrow().len(), 4);
}
