use postback::{Config, debug_handler};

struct Settings;

struct Pool;

#[debug_handler]
async fn count(_config: Config<Settings>, _pool: Pool, names: Vec<String>) -> Result<usize, String> {
    Ok(names.len())
}

#[debug_handler]
async fn length(text: &str) -> Result<usize, String> {
    Ok(text.len())
}

fn main() {}
