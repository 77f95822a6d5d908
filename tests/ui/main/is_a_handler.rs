use postback::async_handler;

#[postback::main]
#[async_handler(webhook = String::new(), request_id = 1, result = false)]
async fn app() -> Result<postback::App<()>, String> {
    Ok(postback::App::new(()))
}
