use postback::async_handler;

#[postback::main]
#[async_handler(webhook = String::new(), request_id = 1)]
async fn app() -> postback::App<()> {
    postback::App::new(())
}
