use postback::{RequestId, async_handler};

struct Config {
    webhook_url: String,
}

#[async_handler(webhook = config.webhook_url, format = cloudevent)]
async fn render(config: Config, request_id: RequestId) -> Result<u8, String> {
    drop((config, request_id));
    Ok(1)
}

#[async_handler(webhook = config.webhook_url, format = "standard")]
async fn paint(config: Config, request_id: RequestId) -> Result<u8, String> {
    drop((config, request_id));
    Ok(1)
}

fn main() {}
