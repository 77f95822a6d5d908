use postback::{Config, debug_handler};

struct Settings;

struct Other;

#[debug_handler(Settings)]
async fn greet(_config: Config<Other>) -> Result<(), String> {
    Ok(())
}

fn main() {}
