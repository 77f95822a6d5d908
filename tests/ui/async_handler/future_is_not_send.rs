use postback::{RequestId, async_handler};

struct Config {
    webhook_url: String,
}

use std::rc::Rc;

#[async_handler(webhook = config.webhook_url)]
async fn render(config: Config, request_id: RequestId) -> Result<u8, String> {
    let kept = Rc::new(1);
    std::future::ready(()).await;
    Ok(*kept)
}

fn send(_: impl Send) {}

fn spawned(config: Config, request_id: RequestId) {
    send(render(config, request_id));
}

fn main() {}
