//! The program `postback`: a workload server without a line of Rust. Its routes are the tables `[[forward]]` of its
//! settings, and HTTP containers do the work.

use postback::{App, Program};

/// The table `[config]` of the settings.
#[derive(serde::Deserialize)]
struct Config {
    #[expect(dead_code, reason = "a forwarded route without a webhook uses it, and reads it from the settings")]
    webhook_url: Option<String>,
}

fn main() -> std::process::ExitCode {
    postback::run(Program::new("postback", env!("CARGO_PKG_VERSION")), async |config: Config| App::new(config))
}
