use postback::async_handler;

struct Config {
    webhook_url: String,
}

#[async_handler(webhook = config.webhook_url)]
async fn render(config: Config) -> Result<u8, String> {
    Ok(1)
}

fn main() {}
