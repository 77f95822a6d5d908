//! Tests that the compiler and clippy warn of the user's code also if the function is annotated. Each `expect` is for
//! such a warning: without the warning the `expect` is unfulfilled, which is itself a warning, and all warnings are
//! denied.

use std::sync::Mutex;

use postback::async_handler;

use crate::support::{Config, completed, named};

#[async_handler(webhook = config.webhook_url)]
#[expect(dead_code, reason = "the test never calls it")]
async fn never_called(config: Config, request_id: &str) -> Result<u8, ()> {
    Ok(1)
}

struct Unused;

impl Unused {
    #[async_handler(webhook = config.webhook_url)]
    #[expect(dead_code, reason = "the test never calls it")]
    async fn never_called(config: Config, request_id: &str) -> Result<u8, ()> {
        Ok(1)
    }
}

#[async_handler(webhook = config.webhook_url)]
#[expect(unused_variables, unused_mut, unused_must_use, unused_assignments, reason = "parameters count too")]
async fn careless(config: &Config, request_id: &str, unused: u8, mut unchanged: u8) -> Result<u8, ()> {
    let mut number = 1;
    number = 2;
    "x".to_owned().is_empty();
    number = unchanged;
    Ok(number)
}

#[async_handler(webhook = config.webhook_url)]
#[expect(unreachable_code, reason = "the test has code behind a `return`")]
async fn goes_on(config: &Config, request_id: &str) -> Result<u8, ()> {
    return Ok(3);
    Ok(4)
}

#[async_handler(webhook = config.webhook_url)]
#[expect(unused_parens, clippy::double_parens, reason = "the body has unneeded parentheses")]
async fn parentheses(config: &Config, request_id: &str) -> Result<u8, ()> {
    let number = 4;
    Ok((number))
}

/// The body is a single expression. The lint for unnecessary braces must not fire, because the braces are the
/// function's.
#[async_handler(webhook = config.webhook_url)]
async fn one_expression(config: &Config, request_id: &str) -> Result<u8, ()> {
    Ok(5)
}

#[async_handler(webhook = config.webhook_url)]
#[expect(
    clippy::await_holding_lock,
    clippy::future_not_send,
    clippy::significant_drop_tightening,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::needless_question_mark,
    reason = "clippy warns of the body"
)]
async fn lets_clippy_speak(config: &Config, lock: &Mutex<u8>, request_id: &str) -> Result<u8, ()> {
    let locked = lock.lock().unwrap();
    println!();
    tokio::task::yield_now().await;
    let number: Result<u8, ()> = Ok(*locked);
    Ok(number?)
}

#[async_handler(webhook = config.webhook_url, request_id = named("underscore"))]
async fn leaves_the_underscored_alone(config: &Config, _unused: u8) -> Result<u8, ()> {
    Ok(7)
}

#[async_handler(webhook = config.webhook_url)]
#[expect(clippy::unused_async, reason = "the body does not wait")]
async fn does_not_wait(config: &Config, request_id: &str) -> Result<String, ()> {
    if request_id.is_empty() {
        return Err(());
    }
    Ok(format!("{}", request_id.len()))
}

#[async_handler(webhook = config.webhook_url)]
#[expect(clippy::needless_return, reason = "the body ends with a `return`")]
async fn returns(config: &Config, request_id: &str) -> Result<u8, ()> {
    tokio::task::yield_now().await;
    return Ok(8);
}

#[async_handler(webhook = config.webhook_url)]
#[expect(clippy::needless_return, clippy::unused_async, reason = "the body ends with a `return`")]
async fn returns_at_once(config: &Config, request_id: &str) -> Result<u8, ()> {
    return Ok(9);
}

/// The lint `implicit_return` must not fire for generated code, because the user's own code has its `return`.
#[async_handler(webhook = config.webhook_url)]
#[deny(clippy::implicit_return)]
#[expect(clippy::needless_return, reason = "the lint `implicit_return` demands the `return`")]
async fn always_returns(config: &Config, request_id: &str) -> Result<u8, ()> {
    tokio::task::yield_now().await;
    return Ok(10);
}

/// The plain function causes two warnings. The annotated function must not cause a third, which advises to capture by
/// reference.
#[async_handler(webhook = config.webhook_url)]
#[expect(unused_variables, unused_assignments, reason = "written and never read")]
async fn writes_only(config: &Config, request_id: &str, mut n: u8) -> Result<u8, ()> {
    tokio::task::yield_now().await;
    n = 2;
    Ok(11)
}

/// A parameter that only the attribute's expressions name counts as used, although `#[async_trait]` binds it to a new
/// variable.
#[async_trait::async_trait]
trait Named {
    async fn named(&self, config: Config, request_id: String, mut part: u8) -> Result<u8, ()>;
}

#[async_trait::async_trait]
impl Named for Unused {
    #[async_handler(webhook = config.webhook_url, request_id = format_args!("{request_id}-{part}"))]
    async fn named(&self, config: Config, request_id: String, mut part: u8) -> Result<u8, ()> {
        part += 1;
        Ok(part)
    }
}

#[tokio::test]
async fn what_only_the_attribute_names_is_used() {
    assert_eq!(Unused.named(Config::new(), "named".to_owned(), 1).await, Ok(2));
    completed("named-1", 2);
}

#[tokio::test]
async fn lints_of_the_users_code_are_still_heard() {
    let config = Config::new();
    let _ = Unused;
    assert_eq!(careless(&config, "careless", 1, 2).await, Ok(2));
    completed("careless", 2);
    assert_eq!(goes_on(&config, "goes-on").await, Ok(3));
    completed("goes-on", 3);
    assert_eq!(parentheses(&config, "parentheses").await, Ok(4));
    completed("parentheses", 4);
    assert_eq!(one_expression(&config, "one-expression").await, Ok(5));
    completed("one-expression", 5);
    assert_eq!(lets_clippy_speak(&config, &Mutex::new(6), "clippy").await, Ok(6));
    completed("clippy", 6);
    assert_eq!(leaves_the_underscored_alone(&config, 0).await, Ok(7));
    completed("underscore", 7);
    assert_eq!(does_not_wait(&config, "does-not-wait").await, Ok("13".to_owned()));
    completed("does-not-wait", "13");
    assert_eq!(returns(&config, "returns").await, Ok(8));
    completed("returns", 8);
    assert_eq!(returns_at_once(&config, "returns-at-once").await, Ok(9));
    completed("returns-at-once", 9);
    assert_eq!(always_returns(&config, "always-returns").await, Ok(10));
    completed("always-returns", 10);
    assert_eq!(writes_only(&config, "writes-only", 1).await, Ok(11));
    completed("writes-only", 11);
}
