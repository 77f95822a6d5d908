use postback::{RequestId, async_handler, debug_handler};

struct Pool;

#[debug_handler]
#[async_handler(webhook = String::new())]
async fn above(_pool: Pool, request_id: RequestId) -> Result<usize, String> {
    Ok(1)
}

#[async_handler(webhook = String::new())]
#[debug_handler]
async fn below(_pool: Pool, request_id: RequestId) -> Result<usize, String> {
    Ok(1)
}

fn main() {}
