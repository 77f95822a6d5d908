#[postback::main]
#[tokio::main]
async fn app() -> u8 {
    1
}
