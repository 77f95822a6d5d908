use postback::async_handler;

unsafe extern "C" {
    #[async_handler(webhook = "config")]
    fn render(config: *const u8, request_id: u64, ...) -> u8;
}

fn main() {}
