use postback::debug_handler;

#[debug_handler("Settings")]
async fn greet() -> Result<(), String> {
    Ok(())
}

#[debug_handler(settings = Settings)]
async fn greet_again() -> Result<(), String> {
    Ok(())
}

fn main() {}
