#[postback::main]
async fn app() {}
