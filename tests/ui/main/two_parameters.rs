#[postback::main]
async fn app(settings: String, more: String) -> u8 {
    1
}
