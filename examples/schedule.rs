//! Work on a schedule: a handler that runs every ten seconds, and one that runs each night.
//!
//! ```sh
//! cargo run --example schedule --features cron -- serve --inspect
//! ```
//!
//! Start it several times on one PostgreSQL, and each tick still runs once. Stop it for a while, and start it again: the
//! schedule that was missed runs once. `cargo run --example schedule --features cron -- cron list` shows the schedules.

use postback::{App, Config, Missed, Payload, RequestId, Tick, async_handler};
use serde::{Deserialize, Serialize};

/// The settings of this program: the table `[config]` in postback.toml.
#[derive(Deserialize)]
struct Settings {
    webhook_url: String,
}

#[derive(Serialize)]
struct Measured {
    at: String,
    load: f64,
}

/// Measures the load of the machine, and reports it.
#[async_handler(webhook = config.webhook_url, error = display)]
async fn measure(
    config: Config<Settings>,
    tick: Payload<Tick>,
    request_id: RequestId,
) -> Result<Measured, std::io::Error> {
    let text = tokio::fs::read_to_string("/proc/loadavg").await?;
    let load = text.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or_default();
    Ok(Measured { at: tick.scheduled_at.clone(), load })
}

/// A handler without the attribute reports nothing.
async fn clean_up() -> Result<String, std::io::Error> {
    Ok("nothing to clean up".to_owned())
}

#[postback::main]
async fn app(settings: Settings) -> App<Settings> {
    App::new(settings).cron("*/10 * * * * *", "UTC", measure).missed(Missed::Skip).cron(
        "30 2 * * *",
        "Europe/Berlin",
        clean_up,
    )
}
