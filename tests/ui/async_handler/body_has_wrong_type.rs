use postback::{RequestId, async_handler};

struct Config {
    webhook_url: String,
}

#[async_handler(webhook = config.webhook_url)]
async fn wrong(config: Config, request_id: RequestId) -> Result<u8, String> {
    Ok("one")
}

#[async_handler(webhook = config.webhook_url)]
async fn stray_semicolon(config: Config, request_id: RequestId) -> Result<u8, String> {
    Ok(1);
}

#[async_handler(webhook = config.webhook_url)]
async fn question_mark_on_option(config: Config, request_id: RequestId) -> Result<u8, String> {
    let first = config.webhook_url.bytes().next()?;
    Ok(first)
}

fn main() {}
