//! Waiting for conditions, never for time.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// Long enough for the slowest machine; nobody waits so long unless something is wrong.
const LIMIT: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_millis(10);

/// Looks until there is something to see; `Err` says what was seen last.
pub fn eventually<T, E: Debug>(what: &str, mut look: impl FnMut() -> Result<T, E>) -> T {
    let begun = Instant::now();
    loop {
        match look() {
            Ok(seen) => return seen,
            Err(last) if begun.elapsed() > LIMIT => panic!("{what} did not come about; last seen: {last:?}"),
            Err(_) => std::thread::sleep(STEP),
        }
    }
}

/// The same for what has to be awaited.
pub async fn eventually_async<T, E: Debug>(what: &str, mut look: impl AsyncFnMut() -> Result<T, E>) -> T {
    let begun = Instant::now();
    loop {
        match look().await {
            Ok(seen) => return seen,
            Err(last) if begun.elapsed() > LIMIT => panic!("{what} did not come about; last seen: {last:?}"),
            Err(_) => tokio::time::sleep(STEP).await,
        }
    }
}
