use postback::{RequestId, async_handler};

struct Config {
    webhook_url: String,
}

// The attribute keeps the `unsafe`. The only mistake in this file is the call below.
#[async_handler(webhook = config.webhook_url)]
async unsafe fn render(config: Config, request_id: RequestId) -> Result<u8, String> {
    drop((config, request_id));
    Ok(1)
}

async fn caller(config: Config, request_id: RequestId) -> Result<u8, String> {
    render(config, request_id).await
}

fn main() {}
