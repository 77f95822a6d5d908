use postback::{RequestId, async_handler};

struct Config {
    webhook_url: String,
}

#[async_handler(webhook = config.webhok_url)]
async fn bare(config: Config, request_id: RequestId) -> Result<u8, String> {
    Ok(1)
}

#[async_handler(webhook = "config.webhok_url")]
async fn in_a_string(config: Config, request_id: RequestId) -> Result<u8, String> {
    Ok(1)
}

fn main() {}
