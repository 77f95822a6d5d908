//! Handlers that tell their progress all the time: at a pace, for the load program, to a webhook, and wrongly.

use std::time::Duration;

use postback::{Config, Payload, Progress, RequestId, async_handler};
use serde::Deserialize;
use tokio::time::MissedTickBehavior;

use super::{Gate, Settings};

/// How many updates a second, and for how many seconds.
#[derive(Deserialize)]
pub struct Pace {
    updates: u32,
    seconds: u32,
}

const TICKS: u32 = 1_000;

/// Tells its progress at this pace, evenly over each second. Returns how many updates it has told.
pub async fn paced(pace: Payload<Pace>, progress: Progress) -> Result<u32, String> {
    let Pace { updates, seconds } = pace.into_inner();
    let all = updates.checked_mul(seconds).ok_or("too many updates")?;
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / TICKS);
    // After a delay, the updates that are missing come at once.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut told = 0;
    while told < all {
        ticks.tick().await;
        for _ in 0..(updates / TICKS).max(1) {
            told += 1;
            progress.report(f64::from(told) / f64::from(all), format!("update {told}"));
        }
    }
    Ok(told)
}

/// Tells what is no number, and a detail that is too large.
pub async fn odd(progress: Progress) -> Result<(), String> {
    progress.report(0.5, "half");
    progress.report_with(f64::NAN, "no number", &"x".repeat(5_000));
    Ok(())
}

/// Tells how many steps it has made, until its gate is open. Reports that to the webhook, too.
#[async_handler(webhook = config.webhook_url, on = [progress, completed, failed, cancelled])]
pub async fn watched(
    config: Config<Settings>,
    gate: Payload<Gate>,
    progress: Progress,
    request_id: RequestId,
) -> Result<u32, String> {
    let mut steps = 0;
    while !gate.is_open() {
        steps += 1;
        progress.report(0.5, format!("step {steps}"));
        tokio::time::sleep(Gate::LOOK_EVERY).await;
    }
    Ok(steps)
}
