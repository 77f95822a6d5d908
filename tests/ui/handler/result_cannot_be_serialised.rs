use postback::{RequestId, debug_handler};

struct Greeting;

#[debug_handler]
async fn greet(_id: RequestId) -> Result<Greeting, String> {
    Ok(Greeting)
}

fn main() {}
