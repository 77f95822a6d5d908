use postback::async_handler;

#[async_handler(webhook = url)]
const fn render(url: &'static str, request_id: u64) -> Result<u8, String> {
    Ok(1)
}

fn main() {}
