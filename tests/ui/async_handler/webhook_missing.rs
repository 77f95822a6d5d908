use postback::async_handler;

struct Config {
    webhook_url: String,
}

#[async_handler(request_id = config.webhook_url)]
async fn render(config: Config) -> Result<u8, String> {
    Ok(config.webhook_url.len() as u8)
}

// This caller of the wrong function must not cause another error.
async fn caller(config: Config) -> Result<u8, String> {
    render(config).await
}

fn main() {}
