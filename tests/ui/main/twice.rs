use postback::App;

#[postback::main]
async fn app() -> App<()> {
    App::new(())
}

#[postback::main]
async fn other() -> App<()> {
    App::new(())
}
