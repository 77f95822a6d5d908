use postback::{RequestId, async_handler};

struct Config {
    webhook_url: String,
}

impl Config {
    #[async_handler(webhok = self.webhook_url)]
    async fn render(&self, _request_id: RequestId) -> Result<u8, String> {
        Ok(1)
    }
}

fn main() {}
