//! Waiting until a condition holds. Tests never wait for a fixed time.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// After this time a test fails. Even a slow machine needs less, unless something is wrong.
const LIMIT: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_millis(10);

/// Calls `look` again and again until it returns `Ok`. `Err` holds what was seen, for the panic message.
pub fn eventually<T, E: Debug>(what: &str, mut look: impl FnMut() -> Result<T, E>) -> T {
    let begun = Instant::now();
    loop {
        match look() {
            Ok(seen) => return seen,
            Err(last) if begun.elapsed() > LIMIT => panic!("{what} did not happen; last seen: {last:?}"),
            Err(_) => std::thread::sleep(STEP),
        }
    }
}

/// Calls the async function `look` again and again until it returns `Ok`, as [`eventually`] does for a plain function.
pub async fn eventually_async<T, E: Debug>(what: &str, mut look: impl AsyncFnMut() -> Result<T, E>) -> T {
    let begun = Instant::now();
    loop {
        match look().await {
            Ok(seen) => return seen,
            Err(last) if begun.elapsed() > LIMIT => panic!("{what} did not happen; last seen: {last:?}"),
            Err(_) => tokio::time::sleep(STEP).await,
        }
    }
}
