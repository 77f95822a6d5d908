use postback::App;

#[postback::main]
async fn app(settings: String) -> App<()> {
    App::new(())
}
