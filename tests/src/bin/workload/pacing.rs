//! Handlers that tell their progress: at a pace, for the load program, and wrongly.

use std::time::Duration;

use postback::{Payload, Progress};
use serde::Deserialize;
use tokio::time::MissedTickBehavior;

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
