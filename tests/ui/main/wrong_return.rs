#[postback::main]
async fn app() -> u8 {
    1
}
