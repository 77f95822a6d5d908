//! The one shape that the other tests cannot have: `unsafe` is forbidden in them.

use postback::{Poster, async_handler};
use postback_tests::Receiver;
use serde_json::json;

struct Config {
    webhook_url: String,
}

/// # Safety
/// There is nothing to look out for.
#[async_handler(webhook = config.webhook_url)]
async unsafe fn unchecked(config: &Config, request_id: &str) -> Result<usize, String> {
    tokio::task::yield_now().await;
    Ok(request_id.len())
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let receiver = Receiver::start();
    let _guard = Poster::builder().trust(receiver.url("/")).install().unwrap();
    let config = Config { webhook_url: receiver.url("/hooks") };
    assert_eq!(unsafe { unchecked(&config, "unsafe").await }, Ok(6));
    let mut report = receiver.wait_for("unsafe").json();
    report.as_object_mut().unwrap().remove("timestamp");
    assert_eq!(report, json!({"id": "unsafe", "status": "completed", "result": 6}));
}
