use postback::{RequestId, async_handler};

struct Config {
    webhook_url: String,
}

#[async_handler(webhook = config.webhook_url)]
extern "C" fn render(config: Config, request_id: RequestId) -> impl Future<Output = Result<u8, String>> {
    async move { Ok(1) }
}

fn main() {}
