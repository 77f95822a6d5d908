//! The extractor [`Attempt`]: which run of its request this is.

use std::sync::Arc;

use super::extract::Parameter;
use super::{Extract, Needs, Run, Shared};

/// Which run of its request this is, and how the run before it failed.
///
/// ```
/// use postback::{Attempt, Payload};
///
/// async fn convert(payload: Payload<String>, attempt: Attempt) -> Result<String, String> {
///     // The last run takes the slow way, which always works.
///     if attempt.is_last() { slow(&payload) } else { fast(&payload) }
/// }
/// # fn slow(text: &str) -> Result<String, String> { Ok(text.to_owned()) }
/// # fn fast(text: &str) -> Result<String, String> { Ok(text.to_owned()) }
/// ```
///
/// To call a handler by hand, as a test does, make one with [`Attempt::new`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    number: u32,
    is_last: bool,
    last_error: Option<Arc<str>>,
}

impl Default for Attempt {
    /// The first and only run.
    fn default() -> Self {
        Self::new(1, true)
    }
}

impl Attempt {
    /// Makes the attempt with this number, so that a test can call a handler directly. The first run has the number 1.
    pub fn new(number: u32, is_last: bool) -> Self {
        Self { number, is_last, last_error: None }
    }

    /// Sets how the run before failed.
    #[must_use]
    pub fn after(self, error: impl Into<Arc<str>>) -> Self {
        Self { last_error: Some(error.into()), ..self }
    }

    /// The number of this run, from 1. Runs that failed count, and runs during which the process died. A run that was
    /// put back because the server stopped does not count.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Whether no further run follows if this run fails: `worker.max_attempts`, or the limit of the route, is reached.
    /// If the process dies during this run, another one may follow.
    pub fn is_last(&self) -> bool {
        self.is_last
    }

    /// The text of the last run that failed, as the log shows it. `None`: no run has failed.
    pub fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }
}

impl Parameter for Attempt {}

impl<S> Extract<S> for Attempt {
    fn needs() -> Needs {
        Needs { last_error: true, ..Needs::of_one_request() }
    }

    fn extract(run: &Run, _: &Shared<S>) -> Result<Self, String> {
        Ok(run.info.attempt.clone())
    }
}
