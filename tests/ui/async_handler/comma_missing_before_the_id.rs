use postback::async_handler;

struct Config {
    webhook_url: String,
}

#[async_handler(webhook = config.webhook_url request_id = 1)]
async fn render(config: Config) -> Result<u8, String> {
    drop(config);
    Ok(1)
}

#[async_handler(webhook = config.webhook_url, request_id = 1, on = [completed failed])]
async fn paint(config: Config) -> Result<u8, String> {
    drop(config);
    Ok(1)
}

fn main() {}
