//! Tests functions that have other attributes too, above and below `#[async_handler]`.

use postback::async_handler;

use crate::support::{Config, completed, completed_without_result, named, url};

/// A function with a doc comment and other attributes.
#[must_use = "kept"]
#[inline]
#[cfg(not(any()))]
#[async_handler(webhook = config.webhook_url)]
#[deprecated = "kept too"]
#[allow(clippy::needless_pass_by_value, reason = "an attribute below `async_handler` is kept too")]
async fn decorated(
    config: Config,
    #[cfg(any())] absent: u8,
    #[cfg(not(any()))] request_id: String,
) -> Result<usize, ()> {
    Ok(request_id.len())
}

#[async_handler(webhook = config.webhook_url)]
async fn with_inner_attributes(config: Config, request_id: &str) -> Result<usize, ()> {
    #![expect(unused_variables, reason = "an inner attribute works")]
    let unused = ();
    Ok(request_id.len())
}

#[cfg_attr(all(), async_handler(webhook = config.webhook_url))]
async fn conditional(config: Config, request_id: &str) -> Result<usize, ()> {
    Ok(request_id.len())
}

#[cfg(any())]
#[async_handler]
fn absent() {}

#[tokio::test]
#[expect(deprecated, reason = "the attribute is kept")]
async fn attributes_are_kept() {
    assert_eq!(decorated(Config::new(), "decorated".to_owned()).await, Ok(9));
    completed("decorated", 9);
    assert_eq!(with_inner_attributes(Config::new(), "inner").await, Ok(5));
    completed("inner", 5);
    assert_eq!(conditional(Config::new(), "conditional").await, Ok(11));
    completed("conditional", 11);
}

#[tracing::instrument(skip(config), err)]
#[async_handler(webhook = config.webhook_url)]
async fn instrumented_above(config: Config, request_id: &str) -> Result<usize, String> {
    Ok(request_id.len())
}

#[async_handler(webhook = config.webhook_url)]
#[tracing::instrument(skip(config), err)]
async fn instrumented_below(config: Config, request_id: &str) -> Result<usize, String> {
    Ok(request_id.len())
}

#[tokio::test]
async fn instrument_stands_above_or_below() {
    assert_eq!(instrumented_above(Config::new(), "above").await, Ok(5));
    completed("above", 5);
    assert_eq!(instrumented_below(Config::new(), "below").await, Ok(5));
    completed("below", 5);
}

#[async_handler(webhook = webhook_url, request_id = named("axum"))]
async fn routed(
    axum::extract::State(Config { webhook_url }): axum::extract::State<Config>,
    body: String,
) -> Result<String, http::StatusCode> {
    drop(webhook_url);
    Ok(body)
}

#[tokio::test]
async fn a_handler_of_axum_may_be_annotated() {
    let request = http::Request::new(axum::body::Body::from("body"));
    let response = axum::handler::Handler::call(routed, request, Config::new()).await;
    assert_eq!(response.status(), http::StatusCode::OK);
    completed("axum", "body");
}

/// Returns a request id that names the tracing span in which the id was evaluated.
fn in_span(of: &str) -> String {
    let name = tracing::Span::current().metadata().map_or("none", tracing::Metadata::name);
    format!("{of}-in-{name}")
}

#[tracing::instrument]
#[async_handler(webhook = url(), request_id = in_span("above"))]
async fn under_instrument() -> Result<u8, String> {
    Ok(1)
}

#[async_handler(webhook = url(), request_id = in_span("below"))]
#[tracing::instrument]
async fn over_instrument() -> Result<u8, String> {
    Ok(1)
}

#[tokio::test]
async fn the_upper_attribute_is_the_inner_one() {
    let subscriber = tracing_subscriber::fmt().with_writer(std::io::sink).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    under_instrument().await.unwrap();
    over_instrument().await.unwrap();
    completed("above-in-none", 1);
    completed("below-in-over_instrument", 1);
}

#[async_handler(webhook = url(), request_id = named("a-test"))]
#[tokio::test]
async fn a_test_of_tokio_stands_below() -> Result<(), String> {
    tokio::task::yield_now().await;
    Ok(())
}

#[test]
fn a_test_that_is_a_handler_reports() {
    completed_without_result("a-test");
}
