//! Tests plain functions that return a future.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use postback::async_handler;

use crate::support::{Config, completed, failed, send};

#[async_handler(webhook = config.webhook_url)]
fn some(config: Config, request_id: &'static str) -> impl Future<Output = Result<u8, String>> + Send {
    let one = u8::from(config.webhook_url.is_empty());
    async move {
        tokio::task::yield_now().await;
        if one > 0 {
            return Err("empty".to_owned());
        }
        Ok(one)
    }
}

#[async_handler(webhook = config.webhook_url)]
fn borrowing<'a>(
    config: &'a Config,
    text: &'a str,
    request_id: &'a str,
) -> impl Future<Output = Result<&'a str, ()>> + 'a {
    async { text.strip_prefix('x').ok_or(()) }
}

#[async_handler(webhook = webhook)]
fn precise<'a, T: AsRef<str> + Sync + 'a>(
    config: &Config,
    text: &'a T,
    request_id: &'static str,
) -> impl Future<Output = Result<&'a str, std::convert::Infallible>> + use<'a, T> {
    // The future must not borrow `config`, so the URL is cloned before the `async` block.
    let webhook = config.webhook_url.clone();
    async move { Ok(text.as_ref()) }
}

#[async_handler(webhook = config.webhook_url)]
fn boxed<'a>(
    config: &'a Config,
    depth: u8,
    request_id: &'a str,
) -> Pin<Box<dyn Future<Output = Result<u8, ()>> + Send + 'a>> {
    Box::pin(async move {
        if depth == 0 {
            return Err(());
        }
        Ok(boxed(config, depth - 1, &format!("{request_id}-{depth}")).await.map_or(depth, |n| n + depth))
    })
}

type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

#[async_handler(webhook = config.webhook_url)]
fn aliased<'a>(config: &'a Config, request_id: &'a str) -> Later<'a, Result<usize, String>> {
    Box::pin(async move {
        let n: usize = request_id.parse().map_err(|_| "no number".to_owned())?;
        Ok(n)
    })
}

#[async_handler(webhook = config.webhook_url)]
#[expect(clippy::future_not_send, reason = "as some write it")]
fn local(config: Config, counter: Rc<Cell<u8>>, request_id: &str) -> impl Future<Output = Result<(), String>> {
    async move {
        counter.set(counter.get() + 1);
        Ok(())
    }
}

trait Render {
    fn render(&self, request_id: &str) -> impl Future<Output = Result<u8, String>> + Send;
}

impl Render for Config {
    #[async_handler(webhook = self.webhook_url)]
    #[tracing::instrument(skip_all)]
    fn render(&self, request_id: &str) -> impl Future<Output = Result<u8, String>> + Send {
        async move { Ok(1) }
    }
}

#[tracing::instrument(skip_all)]
#[async_handler(webhook = config.webhook_url)]
fn instrumented(config: Config, request_id: &'static str) -> Pin<Box<dyn Future<Output = Result<u8, String>>>> {
    Box::pin(async move { Ok(2) })
}

#[tokio::test]
async fn futures_report_as_functions_do() {
    let config = Config::new();
    assert_eq!(send(some(config.clone(), "some")).await, Ok(0));
    completed("some", 0);
    assert_eq!(send(borrowing(&config, "xyz", "borrowing")).await, Ok("yz"));
    completed("borrowing", "yz");
    assert_eq!(borrowing(&config, "yz", "borrowing-failed").await, Err(()));
    failed("borrowing-failed");
    let text = "text".to_owned();
    assert_eq!(precise(&Config::new(), &text, "precise").await, Ok("text"));
    completed("precise", "text");
    assert_eq!(send(boxed(&config, 2, "boxed")).await, Ok(3));
    completed("boxed", 3);
    completed("boxed-2", 1);
    failed("boxed-2-1");
    assert_eq!(aliased(&config, "17").await, Ok(17));
    completed("17", 17);
    assert_eq!(config.render("rendered").await, Ok(1));
    completed("rendered", 1);
    assert_eq!(instrumented(config, "instrumented-future").await, Ok(2));
    completed("instrumented-future", 2);
}

#[tokio::test]
async fn nothing_is_evaluated_before_the_first_poll() {
    let counter = Rc::new(Cell::new(0));
    drop(local(Config::new(), Rc::clone(&counter), "local"));
    assert_eq!(counter.get(), 0);
    local(Config::new(), Rc::clone(&counter), "local").await.unwrap();
    assert_eq!(counter.get(), 1);
    crate::support::completed_without_result("local");
}
