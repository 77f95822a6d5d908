#[postback::debug_handler]
struct Handler;

fn main() {}
