use postback::{RequestId, async_handler};

#[async_handler(webhook = "https://example.com/hooks")]
async fn render(request_id: RequestId) -> Result<u8, String> {
    Ok(1)
}

fn main() {}
