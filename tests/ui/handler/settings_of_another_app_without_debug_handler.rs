use postback::{App, Config};

struct Settings;

struct Other;

async fn greet(_config: Config<Other>) -> Result<(), String> {
    Ok(())
}

fn app(settings: Settings) -> App<Settings> {
    App::new(settings).route("/greet", greet)
}

fn main() {}
