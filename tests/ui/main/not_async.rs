#[postback::main]
fn app() -> u8 {
    1
}
