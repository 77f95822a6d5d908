use postback::{RequestId, debug_handler};

struct Failure;

#[debug_handler]
async fn greet(_id: RequestId) -> Result<u8, Failure> {
    Err(Failure)
}

fn main() {}
