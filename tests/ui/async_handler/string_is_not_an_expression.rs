use postback::{RequestId, async_handler};

struct Config {
    webhook_url: String,
}

#[async_handler(webhook = "config webhook_url")]
async fn two_words(config: Config, request_id: RequestId) -> Result<u8, String> {
    Ok(1)
}

#[async_handler(webhook = "")]
async fn empty(config: Config, request_id: RequestId) -> Result<u8, String> {
    Ok(1)
}

fn main() {}
