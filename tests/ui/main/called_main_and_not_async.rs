#[postback::main]
fn main() {}
