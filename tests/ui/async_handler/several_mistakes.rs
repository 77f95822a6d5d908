use postback::async_handler;

struct Config {
    webhook_url: String,
}

#[async_handler(webhok = config.webhook_url, on = [complete], durable = 1)]
async fn render(config: Config) {
    drop(config);
}

fn main() {}
