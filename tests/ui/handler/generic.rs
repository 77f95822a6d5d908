use postback::{Payload, debug_handler};

#[debug_handler]
async fn echo<T>(_payload: Payload<T>) -> Result<(), String> {
    Ok(())
}

fn main() {}
