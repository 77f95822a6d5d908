use postback::{RequestId, async_handler};

struct Config {
    webhook_url: String,
}

#[async_handler(webhook = std::future::ready(config.webhook_url).await)]
async fn render(config: Config, request_id: RequestId) -> Result<u8, String> {
    drop((config, request_id));
    Ok(1)
}

fn main() {}
