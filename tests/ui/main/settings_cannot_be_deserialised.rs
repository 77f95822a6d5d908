use postback::App;

struct Settings;

#[postback::main]
async fn app(settings: Settings) -> App<Settings> {
    App::new(settings)
}
