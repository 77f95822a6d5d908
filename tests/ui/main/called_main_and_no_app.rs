#[postback::main]
async fn main() {}
