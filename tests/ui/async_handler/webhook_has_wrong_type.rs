use postback::{RequestId, async_handler};

struct Config {
    webhook_url: String,
}

#[async_handler(webhook = config.webhook_url.len())]
async fn render(config: Config, request_id: RequestId) -> Result<u8, String> {
    Ok(1)
}

fn main() {}
