//! The attribute, with a recorder instead of the ambient sink. The attribute's argument `crate` makes that possible.

#![expect(clippy::unused_async, reason = "the lint counts an annotated function like a plain one")]

use std::cell::RefCell;
use std::fmt::{self, Display};
use std::rc::Rc;
use std::sync::Mutex;

use postback::async_handler;

use super::URL;
use super::recorder::Recorder;
use crate::poster::Loss;
use crate::poster::ambient::Role;

/// A module that generated code uses instead of the crate `postback`. The functions in this module report to a
/// recorder.
mod recorded {
    pub(crate) mod __private {
        #[cfg(feature = "server")]
        pub(crate) use crate::__announce as announce;
        #[cfg(not(feature = "server"))]
        pub(crate) use crate::__announce_to_nobody as announce;
        pub(crate) use crate::__private::{
            AsDebug, AsDisplay, AsJson, Ends, Mapped, Omitted, OperatorCheck, begin, capture_whole, checked_views,
            enter, never, returns,
        };
        pub(crate) use crate::outcome::tests::recorder::{run_sync, watch};
    }
}

struct Config {
    webhook_url: String,
}

impl Config {
    fn new() -> Self {
        Self { webhook_url: URL.to_owned() }
    }
}

const fn as_is(text: &String) -> &String {
    text
}

#[async_handler(webhook = "config.webhook_url", crate = crate::outcome::tests::attribute::recorded)]
async fn moves_all(config: Config, request_id: String) -> Result<String, ()> {
    drop(config);
    Ok(request_id)
}

#[async_handler(
    webhook = [&this.webhook_url, "https://example.com/2"],
    request_id = format_args!("{a}-{}", b.1),
    on = [completed, failed, dropped],
    error = display,
    result = as_is,
    crate = crate::outcome::tests::attribute::recorded
)]
async fn with_everything(this: &Config, a: u8, b: (u8, u8)) -> Result<String, String> {
    if b.0 == 0 {
        return Err("zero".to_owned());
    }
    Ok(this.webhook_url.len().to_string())
}

#[tokio::test]
async fn the_body_may_move_what_the_expression_names() {
    let recorder = Recorder::install(Role::Posted);
    let value = moves_all(Config::new(), "id-1".to_owned()).await;
    assert_eq!(value.unwrap(), "id-1");
    assert_eq!(recorder.began(), [format!("id-1 {URL}")]);
    assert_eq!(recorder.reports().len(), 1);
}

#[tokio::test]
async fn each_argument_has_its_effect() {
    let recorder = Recorder::install(Role::Posted);
    with_everything(&Config::new(), 1, (2, 3)).await.unwrap();
    with_everything(&Config::new(), 1, (0, 3)).await.unwrap_err();
    assert_eq!(recorder.began()[0], format!("1-3 {URL} https://example.com/2"));
    assert!(recorder.reports()[0].contains(r#""result":"25""#));
    assert_eq!(recorder.reports()[1], r#"{"id":"1-3","status":"failed","reason":"error","error":"zero"}"#);
}

trait Render {
    async fn render(&mut self, request_id: u8) -> Result<u8, fmt::Error>;

    #[async_handler(webhook = URL, durable = false, crate = crate::outcome::tests::attribute::recorded)]
    async fn default_method(&self, request_id: u8) -> Result<u8, fmt::Error> {
        Ok(request_id)
    }
}

struct Scene<'a, T> {
    config: &'a Config,
    shapes: Vec<T>,
}

impl<T: Clone> Render for Scene<'_, T> {
    #[async_handler(webhook = self.config.webhook_url, crate = crate::outcome::tests::attribute::recorded)]
    async fn render(&mut self, request_id: u8) -> Result<u8, fmt::Error> {
        self.shapes.clear();
        tokio::task::yield_now().await;
        self.default_method(request_id + 1).await
    }
}

impl<'a, T> Scene<'a, T> {
    #[async_handler(webhook = self.config.webhook_url, request_id = 9, result = false,
        crate = crate::outcome::tests::attribute::recorded)]
    async fn first<'b>(&'b self, _unused: impl Display) -> Result<&'b T, &'a str>
    where
        T: Clone,
    {
        self.shapes.first().ok_or(self.config.webhook_url.as_str())
    }
}

#[async_handler(webhook = URL, request_id = 1, error = debug, crate = crate::outcome::tests::attribute::recorded)]
async fn fails<E: fmt::Debug>(error: E) -> Result<(), E> {
    Err(error)
}

#[tokio::test]
async fn an_error_may_be_told_in_its_debug_form() {
    let recorder = Recorder::install(Role::Posted);
    fails(Some("x")).await.unwrap_err();
    assert_eq!(recorder.reports(), [r#"{"id":"1","status":"failed","reason":"error","error":"Some(\"x\")"}"#]);
}

#[tokio::test]
async fn methods_report_as_functions_do() {
    let recorder = Recorder::install(Role::Posted);
    let config = Config::new();
    let mut scene = Scene { config: &config, shapes: vec![Rc::new(1)] };
    assert_eq!(**scene.first("x").await.unwrap(), 1);
    assert_eq!(scene.render(1).await, Ok(2));
    assert_eq!(recorder.ids(), ["9", "2", "1"]);
}

mod outcomes {
    pub(super) type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
}

#[async_handler(webhook = None::<&str>, request_id = 1, crate = crate::outcome::tests::attribute::recorded)]
async fn infers_as_a_plain_function(text: &str, mut sum: usize) -> outcomes::Outcome<impl serde::Serialize + use<>> {
    use std::collections::BTreeMap as Result;
    let _: Result<u8, u8> = Result::new();
    sum += text.parse::<usize>()?;
    if sum > 100 {
        return Err("too much".into());
    }
    'outer: loop {
        while sum < 50 {
            if sum > 5 {
                break 'outer;
            }
            sum += 1;
        }
    }
    Ok(std::iter::once(sum).collect::<Vec<_>>())
}

#[tokio::test]
async fn question_marks_and_returns_infer_as_in_a_plain_function() {
    let recorder = Recorder::install(Role::Posted);
    assert!(infers_as_a_plain_function("1", 1).await.is_ok());
    assert!(infers_as_a_plain_function("x", 1).await.is_err());
    assert!(infers_as_a_plain_function("1", 100).await.is_err());
    assert_eq!(recorder.reports().len(), 3);
}

thread_local! {
    static SEEN: RefCell<Vec<&'static str>> = const { RefCell::new(Vec::new()) };
}

fn seen(what: &'static str) -> &'static str {
    SEEN.with_borrow_mut(|seen| seen.push(what));
    what
}

#[async_handler(
    webhook = { seen("webhook"); URL },
    request_id = seen("id"),
    crate = crate::outcome::tests::attribute::recorded
)]
async fn tells_the_order() -> Result<(), ()> {
    seen("body");
    tokio::task::yield_now().await;
    Ok(())
}

#[tokio::test]
async fn expressions_are_evaluated_once_before_the_body_and_not_before_the_first_poll() {
    Recorder::install(Role::Posted);
    let call = tells_the_order();
    assert!(SEEN.with_borrow(Vec::is_empty));
    call.await.unwrap();
    assert_eq!(SEEN.take(), ["webhook", "id", "body"]);
}

fn panics() -> &'static str {
    panic!("in the expression")
}

#[async_handler(
    webhook = panics(),
    request_id = 4,
    crate = crate::outcome::tests::attribute::recorded
)]
async fn has_a_panic_in_its_expression(moved: Vec<u8>) -> Result<Vec<u8>, ()> {
    Ok(moved)
}

#[tokio::test]
async fn a_panic_in_an_expression_is_counted_and_the_body_runs() {
    let recorder = Recorder::install(Role::Held);
    assert_eq!(has_a_panic_in_its_expression(vec![1]).await, Ok(vec![1]));
    assert_eq!(recorder.lost(), [(Loss::Panicked, "4".to_owned())]);
    assert!(recorder.began().is_empty());
}

static LOCKED: Mutex<String> = Mutex::new(String::new());

#[async_handler(
    webhook = Locked(LOCKED.lock().unwrap()),
    request_id = LOCKED.lock().unwrap(),
    crate = crate::outcome::tests::attribute::recorded
)]
async fn locks_in_its_expressions(cell: std::cell::Cell<u8>) -> Result<u8, ()> {
    tokio::task::yield_now().await;
    LOCKED.lock().map_err(drop)?.clear();
    Ok(cell.get())
}

struct Locked<'a>(std::sync::MutexGuard<'a, String>);

impl postback_wire::webhook::IntoWebhook for Locked<'_> {
    fn add_to(&self, webhooks: &mut postback_wire::webhook::Webhooks) {
        self.0.as_str().add_to(webhooks);
    }
}

#[tokio::test]
async fn temporaries_of_the_expressions_are_gone_before_the_body() {
    fn send<T: Send>(it: T) -> T {
        it
    }
    Recorder::install(Role::Posted);
    send(locks_in_its_expressions(std::cell::Cell::new(1))).await.unwrap();
}

#[async_handler(webhook = URL, request_id = depth, crate = crate::outcome::tests::attribute::recorded)]
async fn recursive(depth: u8) -> Result<u8, ()> {
    match depth {
        0 => Ok(0),
        _ => Box::pin(recursive(depth - 1)).await.map(|sum| sum + depth),
    }
}

#[tokio::test]
async fn recursion_reports_each_call() {
    let recorder = Recorder::install(Role::Posted);
    assert_eq!(recursive(3).await, Ok(6));
    assert_eq!(recorder.ids(), ["0", "1", "2", "3"]);
}

macro_rules! handlers {
    ($name:ident, $webhook:expr, $url:literal, $result:ty, $body:block) => {
        #[async_handler(webhook = $webhook, request_id = $url, crate = $crate::outcome::tests::attribute::recorded)]
        async fn $name() -> $result $body
    };
}

handlers!(from_a_macro, URL, "\"id\"", Result<u8, ()>, { Ok(1) });

#[tokio::test]
async fn a_macro_may_make_handlers() {
    let recorder = Recorder::install(Role::Posted);
    from_a_macro().await.unwrap();
    assert_eq!(recorder.ids(), ["id"]);
}

mod sizes {
    #![expect(
        clippy::large_types_passed_by_value,
        reason = "the test measures how such types change the future's size"
    )]

    use super::{URL, async_handler};

    /// The largest number of bytes by which the future of an annotated function may be larger than the future of the
    /// same function without the attribute. This number does not depend on the size of the function's body.
    ///
    /// These bytes contain the call's webhooks, its id, and the state of its report. The measured numbers are 120, and
    /// 128 with `durable`.
    const MORE_BYTES: usize = 128;

    async fn plain(large: [u8; 1024], request_id: u8) -> Result<usize, [u64; 32]> {
        let local = [request_id; 512];
        tokio::task::yield_now().await;
        Ok(large.len() + local.len())
    }

    #[async_handler(webhook = URL, crate = crate::outcome::tests::attribute::recorded)]
    async fn annotated(large: [u8; 1024], request_id: u8) -> Result<usize, [u64; 32]> {
        let local = [request_id; 512];
        tokio::task::yield_now().await;
        Ok(large.len() + local.len())
    }

    #[async_handler(webhook = URL, durable = true, crate = crate::outcome::tests::attribute::recorded)]
    async fn durable(large: [u8; 1024], request_id: u8) -> Result<usize, [u64; 32]> {
        let local = [request_id; 512];
        tokio::task::yield_now().await;
        Ok(large.len() + local.len())
    }

    #[test]
    fn nothing_of_the_body_is_in_the_future_twice() {
        let plain = size_of_val(&plain([0; 1024], 1));
        let annotated = size_of_val(&annotated([0; 1024], 1));
        assert!(annotated <= plain + MORE_BYTES, "{plain} {annotated}");
        let durable = size_of_val(&durable([0; 1024], 1));
        assert!(durable <= plain + MORE_BYTES, "{plain} {durable}");
    }
}
