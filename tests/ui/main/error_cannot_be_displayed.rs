use postback::App;

struct Failure;

#[postback::main]
async fn app() -> Result<App<()>, Failure> {
    Ok(App::new(()))
}
