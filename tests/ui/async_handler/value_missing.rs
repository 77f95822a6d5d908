use postback::{RequestId, async_handler};

struct Config {
    webhook_url: String,
}

#[async_handler(webhook)]
async fn key_alone(config: Config, request_id: RequestId) -> Result<u8, String> {
    Ok(1)
}

#[async_handler(webhook =)]
async fn nothing_behind(config: Config, request_id: RequestId) -> Result<u8, String> {
    Ok(1)
}

fn main() {}
