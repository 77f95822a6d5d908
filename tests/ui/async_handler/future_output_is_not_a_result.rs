use postback::{RequestId, async_handler};

struct Config {
    webhook_url: String,
}

#[async_handler(webhook = config.webhook_url)]
fn render(config: Config, request_id: RequestId) -> impl Future<Output = u8> {
    async move { 1 }
}

fn main() {}
