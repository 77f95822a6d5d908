use postback::App;

struct Settings;

struct Pool;

async fn count(_pool: Pool) -> Result<usize, String> {
    Ok(1)
}

fn app(settings: Settings) -> App<Settings> {
    App::new(settings).route("/count", count)
}

fn main() {}
