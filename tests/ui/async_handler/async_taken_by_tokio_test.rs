use postback::async_handler;

struct Config {
    webhook_url: String,
}

#[tokio::test]
#[async_handler(webhook = config.webhook_url)]
async fn render(config: Config, request_id: postback::RequestId) -> Result<u8, String> {
    Ok(1)
}

fn main() {}
