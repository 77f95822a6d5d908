use postback::{async_handler};

struct Config {
    webhook_url: String,
}

fn main() {
    let config = Config { webhook_url: String::new() };
    let _render = #[async_handler(webhook = config.webhook_url)] async move |number: u8| Ok::<_, String>(number);
}
