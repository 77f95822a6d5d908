use postback::async_handler;

struct Config {
    webhook_url: String,
}

#[async_handler(request_id = config.webhook_url)]
async fn render(config: Config) -> Result<u8, String> {
    Ok(config.webhook_url.len() as u8)
}

// What calls it does not fail in addition.
async fn caller(config: Config) -> Result<u8, String> {
    render(config).await
}

fn main() {}
