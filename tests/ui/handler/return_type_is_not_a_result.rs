use postback::{RequestId, debug_handler};

#[debug_handler]
async fn number(_id: RequestId) -> u8 {
    1
}

#[debug_handler]
async fn nothing(_id: RequestId) {}

fn main() {}
