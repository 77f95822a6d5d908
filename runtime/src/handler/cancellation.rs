//! The extractor [`Cancellation`]: whether the run was told to stop, and why.

use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

use super::extract::Parameter;
use super::{Extract, Needs, Run, Shared};

/// Why a run is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CancelReason {
    /// The caller, or an operator, has cancelled the request.
    Caller,
    /// The run has taken longer than it may.
    Timeout,
    /// The server stops, and `shutdown.grace` is over. The request is put back, and runs again after the next start.
    Shutdown,
}

/// Tells the threads and the tasks of a run that the run is stopped, and why.
///
/// A run is stopped by dropping the handler's future at its next `.await`. So an async handler needs no `Cancellation`.
/// What it has started elsewhere goes on, unless it asks:
///
/// ```
/// use postback::{Cancellation, Payload};
///
/// async fn solve(payload: Payload<u64>, cancellation: Cancellation) -> Result<u64, String> {
///     let n = payload.into_inner();
///     let sum = tokio::task::spawn_blocking(move || {
///         let mut sum = 0_u64;
///         for i in 0..n {
///             if i % 1_000 == 0 && cancellation.is_cancelled() {
///                 return Err("stopped".to_owned());
///             }
///             sum = sum.wrapping_add(i);
///         }
///         Ok(sum)
///     });
///     sum.await.map_err(|error| error.to_string())?
/// }
/// ```
///
/// A clone is cheap. To call a handler by hand, as a test does, give it `Cancellation::default()`, which is never
/// cancelled, or [`Cancellation::because`].
#[derive(Clone, Debug, Default)]
pub struct Cancellation(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    token: CancellationToken,
    reason: OnceLock<CancelReason>,
}

impl Cancellation {
    /// Makes one that is cancelled already, so that a test can call a handler directly.
    pub fn because(reason: CancelReason) -> Self {
        let cancellation = Self::default();
        cancellation.cancel(reason);
        cancellation
    }

    /// Whether the run is stopped.
    pub fn is_cancelled(&self) -> bool {
        self.0.token.is_cancelled()
    }

    /// Why the run is stopped. `None`: it is not stopped.
    pub fn reason(&self) -> Option<CancelReason> {
        self.0.reason.get().copied().filter(|_| self.is_cancelled())
    }

    /// Waits until the run is stopped, and returns why. If the run ends by itself, this never returns. The future is
    /// cancel-safe.
    pub async fn cancelled(&self) -> CancelReason {
        self.0.token.cancelled().await;
        // The reason is set before the token is cancelled.
        self.0.reason.get().copied().unwrap_or(CancelReason::Caller)
    }

    /// Tells the run to stop. Only the first reason counts.
    pub(crate) fn cancel(&self, reason: CancelReason) {
        let _ = self.0.reason.set(reason);
        self.0.token.cancel();
    }
}

impl Parameter for Cancellation {}

impl<S> Extract<S> for Cancellation {
    fn needs() -> Needs {
        Needs { cancellation: true, ..Needs::of_one_request() }
    }

    fn extract(run: &Run, _: &Shared<S>) -> Result<Self, String> {
        Ok(run.info.cancellation.clone().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn the_first_reason_counts_and_all_clones_are_told() {
        let cancellation = Cancellation::default();
        let clone = cancellation.clone();
        assert!(!clone.is_cancelled() && clone.reason().is_none() && clone.cancelled().now_or_never().is_none());
        let waiting = clone.cancelled();
        cancellation.cancel(CancelReason::Timeout);
        cancellation.cancel(CancelReason::Shutdown);
        assert_eq!(waiting.await, CancelReason::Timeout);
        assert_eq!((clone.is_cancelled(), clone.reason()), (true, Some(CancelReason::Timeout)));
        assert_eq!(Cancellation::because(CancelReason::Caller).reason(), Some(CancelReason::Caller));
    }
}
