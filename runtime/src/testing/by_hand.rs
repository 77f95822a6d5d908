//! Extractors that a test makes by hand, and looks at after it has called the handler.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::Value;

use crate::handler::{CancelReason, Cancellation, Progress, Telling};
use postback_wire::time::Clock;

/// Makes a [`Progress`] and what shows its last report.
///
/// ```
/// use postback::{Progress, testing};
///
/// async fn load(progress: Progress) -> Result<(), String> {
///     progress.report(0.5, "half of it");
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let (progress, told) = testing::progress();
/// load(progress).await.unwrap();
/// assert_eq!((told.fraction(), told.message().as_deref()), (Some(0.5), Some("half of it")));
/// # }
/// ```
pub fn progress() -> (Progress, Told) {
    let telling = Telling::new(Clock::system());
    (telling.progress(), Told(telling))
}

/// What a handler has told by the [`Progress`] of [`progress`]: its last report.
pub struct Told(Arc<Telling>);

impl Told {
    /// Returns how much was done, from 0 to 1. `None`: nothing was told.
    pub fn fraction(&self) -> Option<f64> {
        self.0.last()?.fraction
    }

    /// Returns what the handler was doing. `None`: it did not say.
    pub fn message(&self) -> Option<String> {
        self.0.last()?.message
    }

    /// Returns the value beside the message.
    pub fn detail(&self) -> Option<Value> {
        serde_json::from_slice(self.0.last()?.detail?.bytes()).ok()
    }

    /// Returns when it was told. `None`: nothing was told.
    pub fn at(&self) -> Option<SystemTime> {
        let micros = u64::try_from(self.0.last()?.at.micros()).ok()?;
        SystemTime::UNIX_EPOCH.checked_add(std::time::Duration::from_micros(micros))
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (fraction, message, detail) = (self.fraction(), self.message(), self.detail());
        f.debug_struct("Told").field("fraction", &fraction).field("message", &message).field("detail", &detail).finish()
    }
}

/// Makes a [`Cancellation`] and what stops it while the handler runs.
///
/// ```
/// use postback::{CancelReason, Cancellation, testing};
///
/// async fn watch(cancellation: Cancellation) -> Result<CancelReason, String> {
///     Ok(cancellation.cancelled().await)
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let (cancellation, canceller) = testing::cancellation();
/// let (reason, ()) = tokio::join!(watch(cancellation), async { canceller.cancel(CancelReason::Timeout) });
/// assert_eq!(reason, Ok(CancelReason::Timeout));
/// # }
/// ```
pub fn cancellation() -> (Cancellation, Canceller) {
    let cancellation = Cancellation::default();
    (cancellation.clone(), Canceller(cancellation))
}

/// Stops the run of the [`Cancellation`] that [`cancellation`] has made.
#[derive(Clone, Debug)]
pub struct Canceller(Cancellation);

impl Canceller {
    /// Stops the run. Only the first reason counts.
    pub fn cancel(&self, reason: CancelReason) {
        self.0.cancel(reason);
    }
}
