use postback::{RequestId, async_handler};

struct Config {
    webhook_url: String,
}

#[async_handler(webhook = config.webhook_url)]
async fn render(config: Config, request_id: RequestId) -> ! {
    drop((config, request_id));
    loop {}
}

fn main() {}
