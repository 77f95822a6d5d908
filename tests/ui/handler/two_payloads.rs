use postback::{Payload, debug_handler};

#[debug_handler]
async fn add(a: Payload<u64>, b: Payload<u64>) -> Result<u64, String> {
    Ok(*a + *b)
}

fn main() {}
