use postback::{RequestId, async_handler};

struct Config {
    webhook_url: String,
}

async fn made(config: Config, request_id: RequestId) -> Result<u8, String> {
    drop((config, request_id));
    Ok(1)
}

#[async_handler(webhook = config.webhook_url)]
fn render(config: Config, request_id: RequestId) -> impl Future<Output = Result<u8, String>> {
    made(config, request_id)
}

fn main() {}
