use postback::{RequestId, async_handler};

struct Config {
    webhook_url: String,
}

impl Config {
    #[async_handler(webhok = self.webhook_url)]
    async fn render(&self, request_id: RequestId) -> Result<u8, String> {
        drop(request_id);
        Ok(1)
    }
}

fn main() {}
