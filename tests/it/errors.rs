//! The texts of the library's errors as a user's `main` prints them, and the reports that a recording misses.

use std::error::Error;

use postback::{Poster, RequestId, Secret, VerifyingKey, Webhook, async_handler, testing, verify};

/// The text that `fn main() -> Result<(), Box<dyn Error>>` prints after `Error: `.
fn printed_by_main(error: impl Error + 'static) -> String {
    let boxed: Box<dyn Error> = Box::new(error);
    format!("{boxed:?}")
}

#[test]
fn main_prints_messages_and_no_type_names() {
    let webhook = "the webhook URL cannot be parsed; use an absolute URL, such as https://example.com/hooks";
    let relative = "relative URL without a base";
    let printed = printed_by_main(Poster::builder().trust("nonsense").start().unwrap_err());
    assert_eq!(printed, format!("a trusted URL cannot be used: {webhook}: {relative}"));
    let (poster, _guard) = Poster::builder().start().unwrap();
    let report = postback::Report::failed("7");
    let printed = printed_by_main(poster.post("nonsense", &report).unwrap_err());
    assert_eq!(printed, format!("the webhook cannot be used: {webhook}: {relative}"));
    assert_eq!(printed_by_main(Webhook::new("nonsense").unwrap_err()), format!("{webhook}: {relative}"));

    let printed = printed_by_main("x".parse::<Secret>().unwrap_err());
    assert!(printed.starts_with("a signing secret starts with `whsec_`"), "{printed}");
    let printed = printed_by_main("a b".parse::<RequestId>().unwrap_err());
    assert!(printed.starts_with("an id has 1 to 128"), "{printed}");
    let printed = printed_by_main(verify(&[] as &[VerifyingKey], &http::HeaderMap::new(), b"").unwrap_err());
    assert!(printed.starts_with("there is no key to verify with"), "{printed}");
    let unserializable = std::collections::HashMap::from([((1, 2), 3)]);
    let printed = printed_by_main(postback::Report::completed("7", &unserializable).unwrap_err());
    assert_eq!(printed, "the result cannot be serialised to JSON: key must be a string");
}

#[async_handler(webhook = hook)]
async fn work(hook: &str, request_id: &str) -> Result<(), ()> {
    Ok(())
}

/// The poster of this process trusts no URL, so a report that the recording misses is not delivered.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_recording_counts_the_reports_that_tasks_on_other_threads_make() {
    let recording = testing::record();
    work("http://127.0.0.1:9/", "here").await.unwrap();
    tokio::spawn(work("http://127.0.0.1:9/", "elsewhere")).await.unwrap().unwrap();
    assert_eq!(recording.reports().len(), 1);
    assert!(recording.missed() >= 1, "{recording:?}");
}
