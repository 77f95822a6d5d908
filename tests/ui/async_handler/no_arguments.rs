use postback::{RequestId, async_handler};

struct Config {
    webhook_url: String,
}

#[async_handler]
async fn bare(config: Config, request_id: RequestId) -> Result<u8, String> {
    Ok(1)
}

#[async_handler()]
async fn empty(config: Config, request_id: RequestId) -> Result<u8, String> {
    Ok(1)
}

fn main() {}
