use postback::{Config, debug_handler};

struct Settings;

struct Other;

#[debug_handler]
async fn greet(_config: Config<Settings>, _other: Config<Other>) -> Result<(), String> {
    Ok(())
}

fn main() {}
