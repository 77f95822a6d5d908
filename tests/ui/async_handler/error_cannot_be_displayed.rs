use postback::{RequestId, async_handler};

struct Config {
    webhook_url: String,
}

struct Opaque;

#[async_handler(webhook = config.webhook_url, error = display)]
async fn render(config: Config, request_id: RequestId) -> Result<u8, Opaque> {
    Err(Opaque)
}

fn main() {}
