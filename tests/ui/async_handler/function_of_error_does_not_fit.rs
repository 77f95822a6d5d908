use postback::{RequestId, async_handler};

struct Config {
    webhook_url: String,
}

fn code(error: u32) -> u32 {
    error
}

#[async_handler(webhook = config.webhook_url, error = code)]
async fn render(config: Config, request_id: RequestId) -> Result<u8, String> {
    Err("no".to_owned())
}

fn main() {}
