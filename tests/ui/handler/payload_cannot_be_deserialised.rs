use postback::{Payload, debug_handler};

struct Order;

#[debug_handler]
async fn ship(_order: Payload<Order>) -> Result<(), String> {
    Ok(())
}

fn main() {}
