//! Tests return types: every type that is a `Result`, also behind an alias or a macro.

use std::borrow::Cow;
use std::convert::Infallible;
use std::error::Error;
use std::rc::Rc;
use std::{fmt, io};

use postback::async_handler;
use serde::Serialize;
use serde_json::json;

use crate::support::{Config, completed, completed_without_result, failed, named, received, reported};

mod anyhow {
    pub(crate) type Result<T, E = Box<dyn super::Error + Send + Sync>> = std::result::Result<T, E>;
}

#[async_handler(webhook = config.webhook_url, error = display)]
async fn io(config: &Config, path: &str, request_id: &str) -> io::Result<String> {
    let text = std::fs::read_to_string(path)?;
    Ok(text)
}

#[async_handler(webhook = config.webhook_url, error = display)]
async fn dynamic(config: &Config, text: &str, request_id: &str) -> anyhow::Result<u8> {
    if text.is_empty() {
        return Err("empty".into());
    }
    Ok(text.parse()?)
}

#[async_handler(webhook = config.webhook_url)]
async fn nothing(config: &Config, request_id: &str) -> Result<(), Infallible> {
    Ok(())
}

#[async_handler(webhook = config.webhook_url)]
async fn perhaps(config: &Config, some: Option<u8>, request_id: &str) -> Result<Option<u8>, fmt::Error> {
    Ok(some)
}

#[async_handler(webhook = config.webhook_url)]
async fn opaque<T: Serialize>(
    config: &Config,
    item: T,
    request_id: &str,
) -> Result<impl Serialize + use<T>, fmt::Error> {
    Ok([Some(item), None])
}

#[async_handler(webhook = config.webhook_url)]
async fn parameter<T, E>(config: &Config, outcome: Result<T, E>, request_id: &str) -> Result<T, E>
where
    T: Serialize + Send,
    E: Send,
{
    outcome
}

/// An error type without `Display` and `Debug`, and with a lifetime that is not `'static`.
struct Opaque<'a>(&'a str);

/// A result type without `Serialize`.
struct Image;

const fn size(_: &Image) -> usize {
    7
}

const fn text_of<'a>(error: &'a Opaque<'_>) -> &'a str {
    error.0
}

#[async_handler(webhook = config.webhook_url, result = false)]
async fn borrowing<'a>(config: &Config, text: &'a str, request_id: &str) -> Result<Image, Opaque<'a>> {
    if text.is_empty() { Ok(Image) } else { Err(Opaque(text)) }
}

#[async_handler(webhook = config.webhook_url, result = size, error = text_of)]
async fn shown<'a>(config: &Config, text: &'a str, request_id: &str) -> Result<Image, Opaque<'a>> {
    if text.is_empty() { Ok(Image) } else { Err(Opaque(text)) }
}

#[async_handler(webhook = config.webhook_url, error = display)]
async fn opaque_error(config: &Config, request_id: &str) -> Result<u8, impl fmt::Display> {
    Err::<u8, _>("hidden")
}

#[async_handler(webhook = config.webhook_url, result = false)]
async fn closure(config: &Config, by: u8, request_id: &str) -> Result<impl Fn(u8) -> u8 + use<>, Rc<str>> {
    if by == 0 {
        return Err("zero".into());
    }
    Ok(move |n| n * by)
}

#[async_handler(webhook = config.webhook_url, result = false)]
async fn dynamic_reference<'a>(
    config: &Config,
    text: &'a str,
    request_id: &str,
) -> Result<&'a (dyn AsRef<str> + 'a), ()> {
    Ok(if text.is_empty() { &"" } else { Box::leak(Box::new(text)) })
}

#[async_handler(webhook = config.webhook_url, result = false)]
async fn pointer(config: &Config, request_id: &str) -> Result<for<'x> fn(&'x str) -> &'x str, Box<dyn Error>> {
    Ok(str::trim)
}

#[async_handler(webhook = config.webhook_url)]
async fn elided(config: &Config, request_id: &str, text: Cow<'_, str>) -> Result<usize, Cow<'static, str>> {
    Ok(text.len())
}

#[tokio::test]
async fn types_without_a_name_of_their_own_are_returned() {
    let config = Config::new();
    assert_eq!(opaque_error(&config, "opaque-error").await.err().unwrap().to_string(), "hidden");
    assert_eq!(reported("opaque-error")["error"], "hidden");
    assert_eq!(closure(&config, 3, "closure").await.ok().unwrap()(4), 12);
    completed_without_result("closure");
    assert_eq!(closure(&config, 0, "no-closure").await.err().as_deref(), Some("zero"));
    failed("no-closure");
    assert_eq!(dynamic_reference(&config, "", "dynamic-reference").await.unwrap().as_ref(), "");
    completed_without_result("dynamic-reference");
    assert_eq!(pointer(&config, "pointer").await.unwrap()(" x "), "x");
    completed_without_result("pointer");
    assert_eq!(elided(&config, "elided", "four".into()).await, Ok(4));
    completed("elided", 4);
}

#[async_handler(webhook = config.webhook_url, error = debug)]
async fn debugged(config: &Config, request_id: &str) -> Result<Vec<&'static str>, fmt::Error> {
    Err(fmt::Error)
}

#[tokio::test]
async fn aliases_are_results() {
    let config = Config::new();
    assert_eq!(io(&config, "/no/such/file", "io").await.unwrap_err().kind(), io::ErrorKind::NotFound);
    assert!(reported("io")["error"].as_str().is_some_and(|error| error.contains("No such file")));
    assert_eq!(dynamic(&config, "7", "dynamic-1").await.unwrap(), 7);
    completed("dynamic-1", 7);
    assert_eq!(dynamic(&config, "", "dynamic-2").await.unwrap_err().to_string(), "empty");
    assert_eq!(reported("dynamic-2")["error"], "empty");
    assert!(dynamic(&config, "x", "dynamic-3").await.unwrap_err().is::<std::num::ParseIntError>());
    assert_eq!(reported("dynamic-3")["error"], "invalid digit found in string");
}

#[tokio::test]
async fn no_result_is_none_in_the_report() {
    let config = Config::new();
    assert_eq!(nothing(&config, "nothing").await, Ok(()));
    completed_without_result("nothing");
    assert_eq!(perhaps(&config, None, "perhaps-none").await, Ok(None));
    completed_without_result("perhaps-none");
    assert_eq!(perhaps(&config, Some(1), "perhaps-some").await, Ok(Some(1)));
    completed("perhaps-some", 1);
}

#[tokio::test]
async fn type_parameters_and_opaque_types_are_told() {
    let config = Config::new();
    let opaque = opaque(&config, "x", "opaque").await.unwrap();
    assert_eq!(json!(opaque), json!(["x", null]));
    completed("opaque", json!(["x", null]));
    assert_eq!(parameter::<_, Infallible>(&config, Ok([1]), "parameter-1").await, Ok([1]));
    completed("parameter-1", vec![1]);
    assert_eq!(parameter::<(), _>(&config, Err(2), "parameter-2").await, Err(2));
    failed("parameter-2");
}

#[tokio::test]
async fn no_bound_is_put_on_what_is_not_told() {
    let config = Config::new();
    assert!(borrowing(&config, "", "unbound-1").await.is_ok());
    completed_without_result("unbound-1");
    assert_eq!(borrowing(&config, "why", "unbound-2").await.err().unwrap().0, "why");
    failed("unbound-2");
}

#[tokio::test]
async fn functions_choose_what_is_told() {
    let config = Config::new();
    assert!(shown(&config, "", "shown-1").await.is_ok());
    completed("shown-1", 7);
    assert!(shown(&config, "why", "shown-2").await.is_err());
    assert_eq!(reported("shown-2"), json!({"id": "shown-2", "status": "failed", "reason": "error", "error": "why"}));
    assert_eq!(debugged(&config, "shown-3").await, Err(fmt::Error));
    assert_eq!(reported("shown-3"), json!({"id": "shown-3", "status": "failed", "reason": "error", "error": "Error"}));
}

macro_rules! answer {
    ($answer:ty) => {
        Result<$answer, String>
    };
}

#[async_handler(webhook = config.webhook_url)]
async fn returns_what_a_macro_says(config: &Config, request_id: &str) -> answer!(impl Serialize + fmt::Debug) {
    tokio::task::yield_now().await;
    let length = u8::try_from(request_id.len()).map_err(|error| error.to_string())?;
    Ok(length)
}

#[async_handler(webhook = config.webhook_url)]
async fn returns_it_at_once(config: &Config, request_id: &str) -> answer!(impl Serialize + fmt::Debug) {
    let length = u8::try_from(request_id.len()).map_err(|error| error.to_string())?;
    Ok(length)
}

#[tokio::test]
async fn a_macro_may_make_the_return_type() {
    let config = Config::new();
    assert_eq!(format!("{:?}", returns_what_a_macro_says(&config, "of-a-macro").await), "Ok(10)");
    completed("of-a-macro", 10);
    assert_eq!(format!("{:?}", returns_it_at_once(&config, "of-a-macro-at-once").await), "Ok(18)");
    completed("of-a-macro-at-once", 18);
}

/// A function for each form that `format` knows.
macro_rules! in_each_form {
    ($($form:ident)*) => {$(
        #[async_handler(webhook = config.webhook_url, request_id = named(concat!("form-", stringify!($form))), format = $form)]
        async fn $form(config: &Config) -> Result<u8, ()> {
            Ok(7)
        }
    )*};
}

in_each_form!(cortex standard cloudevents replicate runpod fal);

#[async_handler(webhook = webhook, request_id = named("form-waiting"), format = runpod)]
async fn waiting(webhook: postback::Webhook) -> Result<u8, ()> {
    tokio::task::yield_now().await;
    Ok(7)
}

#[tokio::test]
async fn a_report_has_the_form_that_the_attribute_names() {
    let config = Config::new();
    let all = [
        cortex(&config).await,
        standard(&config).await,
        cloudevents(&config).await,
        replicate(&config).await,
        runpod(&config).await,
        fal(&config).await,
    ];
    assert_eq!(all, [Ok(7); 6]);
    let body = |form: &str| received(&format!("form-{form}"));
    assert_eq!(body("cortex")["result"], 7);
    assert_eq!(body("standard")["data"]["result"], 7);
    assert_eq!(body("cloudevents")["specversion"], "1.0");
    assert_eq!(body("replicate")["status"], "succeeded");
    assert_eq!(body("runpod")["status"], "COMPLETED");
    assert_eq!(body("fal")["payload"], 7);
    let webhook = postback::Webhook::new(&config.webhook_url).unwrap();
    assert_eq!(waiting(webhook.format(postback::Format::Fal)).await, Ok(7));
    assert_eq!(body("waiting")["payload"], 7, "the form of the webhook itself comes first");
    let outcome = postback::report_outcome(&config.webhook_url, "form-outcome", async { Ok::<_, ()>(7) });
    assert_eq!(outcome.format(postback::Format::RunPod).await, Ok(7));
    assert_eq!(body("outcome")["output"], 7);
}
