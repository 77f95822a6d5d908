use postback::{RequestId, async_handler};

struct Config {
    webhook_url: String,
}

#[async_handler(webhook = config.webhook_url)]
async fn number(config: Config, request_id: RequestId) -> u8 {
    1
}

#[async_handler(webhook = config.webhook_url, result = false)]
async fn option(config: Config, request_id: RequestId) -> Option<u8> {
    Some(1)
}

fn main() {}
