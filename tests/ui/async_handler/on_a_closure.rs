use postback::{RequestId, async_handler};

struct Config {
    webhook_url: String,
}

async fn caller(config: Config, request_id: RequestId) {
    #[async_handler(webhook = config.webhook_url)]
    async move |number: u8| Ok::<_, String>(number);
}

fn main() {}
