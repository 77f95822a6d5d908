use postback::{RequestId, async_handler};

struct Config {
    webhook_url: String,
}

struct Image(Vec<u8>);

#[async_handler(webhook = config.webhook_url)]
async fn render(config: Config, request_id: RequestId) -> Result<Image, String> {
    Ok(Image(Vec::new()))
}

fn main() {}
