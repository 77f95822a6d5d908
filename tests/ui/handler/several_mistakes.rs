use postback::{Payload, debug_handler};

#[debug_handler]
fn ask(_a: Payload<u8>, _b: Payload<u16>) {}

fn main() {}
