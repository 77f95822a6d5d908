//! Runs blocking work beside the handlers, within the run that asked for it.

use std::panic::resume_unwind;

use tracing::Span;

use super::call::{task_sink, within};

/// Runs code that computes or blocks for long on a thread of its own, and returns what it returns.
///
/// The code belongs to the run that calls this function: its log lines are in the run's span, and calls of annotated
/// functions report as they do in the run. A panic of the code goes on in the caller. Without it, code that computes for
/// long holds one of the threads of the handlers (`worker.threads`), so that other handlers wait.
///
/// ```
/// use postback::{Cancellation, Payload};
///
/// async fn count_primes(below: Payload<u64>, cancellation: Cancellation) -> Result<usize, String> {
///     let below = *below;
///     postback::blocking(move || {
///         let is_prime = |n: &u64| (2..*n).all(|divisor| n % divisor != 0);
///         let primes = (2..below).take_while(|_| !cancellation.is_cancelled()).filter(is_prime);
///         Ok(primes.count())
///     })
///     .await
/// }
/// ```
///
/// A thread cannot be stopped from outside. If the run is cancelled, or its time is over, the code goes on until it returns:
/// let it ask [`Cancellation`](crate::Cancellation) now and then. For work that uses all cores, call `rayon` inside the
/// code; what `rayon` runs on its own threads is outside of the run's span.
///
/// # Panics
///
/// Must be called within a tokio runtime, as handlers are.
///
/// # Cancel safety
///
/// If you drop the future, the code goes on, and its result is dropped.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sink, span) = (task_sink(), Span::current());
    let work = move || span.in_scope(|| within(sink, work));
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // The runtime shuts down, and drops the caller too.
            Err(_) => std::future::pending().await,
        },
    }
}

#[cfg(all(test, feature = "server"))]
mod tests {
    use std::panic::AssertUnwindSafe;
    use std::sync::Arc;

    use futures_util::FutureExt as _;

    use super::*;
    use crate::poster::{Outbox, ambient};
    use postback_store::{Location, Options, Store};
    use postback_wire::id::NodeId;
    use postback_wire::time::Clock;

    #[tokio::test]
    async fn the_code_is_within_the_run() {
        let options = Options::at(Location::Memory { reports: 1, bytes: 1 << 10, kept: 1 });
        let store = Store::open(options, NodeId::generate(), Clock::system()).await.unwrap();
        let sink: Arc<dyn ambient::Sink> = Arc::new(Outbox::new(store, Clock::system()));
        let known = Arc::clone(&sink);
        let is_there =
            ambient::around(sink, blocking(move || task_sink().is_some_and(|sink| Arc::ptr_eq(&sink, &known))));
        assert!(is_there.await);
        assert!(blocking(|| task_sink().is_none()).await);
    }

    #[tokio::test]
    async fn a_panic_goes_on_in_the_caller() {
        let panicking = AssertUnwindSafe(blocking(|| -> u8 { panic!("as the test says") })).catch_unwind();
        assert_eq!(panicking.await.unwrap_err().downcast_ref::<&str>(), Some(&"as the test says"));
    }
}
