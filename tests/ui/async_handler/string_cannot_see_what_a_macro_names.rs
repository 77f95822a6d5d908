use postback::{RequestId, async_handler};

struct Config {
    webhook_url: String,
}

macro_rules! handler {
    ($webhook:literal) => {
        #[async_handler(webhook = $webhook)]
        async fn render(config: Config, request_id: RequestId) -> Result<u8, String> {
            drop((config, request_id));
            Ok(1)
        }
    };
}

handler!("config.webhook_url");

fn main() {}
