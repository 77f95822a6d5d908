//! An error of a handler that says what follows its run.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::time::Duration;

use crate::panics::caught;
use postback_wire::line::Causes;

/// The longest wait before another run that an error can ask for.
const LONGEST_WAIT: Duration = Duration::from_hours(30 * 24);

/// What follows a run that its handler has ended with an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum AfterError {
    /// What the settings and the route say.
    #[default]
    Usual,
    /// The request fails, because another run would fail, too.
    Permanent,
    /// If the request may have another run, it begins after this wait.
    RetryAfter(Duration),
}

/// An error that says whether its request runs again. Use it as the error type of a handler.
///
/// The operator `?` turns every error that implements [`std::error::Error`] into a `HandlerError` with which the request
/// runs again as usual. The methods of [`IntoHandlerError`] make one that says otherwise.
///
/// ```
/// use std::time::Duration;
///
/// use postback::{HandlerError, IntoHandlerError as _, Payload};
///
/// async fn import(payload: Payload<String>) -> Result<usize, HandlerError> {
///     // A text that is no number does not become one in another run.
///     let number: usize = payload.trim().parse().map_err(std::num::ParseIntError::permanent)?;
///     if busy() {
///         return Err("the service is busy".retry_after(Duration::from_secs(30)));
///     }
///     std::fs::write("/dev/null", number.to_string())?;
///     Ok(number)
/// }
/// # fn busy() -> bool { false }
/// ```
///
/// How often a request runs is still up to the setting `worker.max_attempts` and the route: an error cannot ask for more
/// runs than these allow. An annotated function that the handler calls reports the error, but decides nothing: only the
/// error that the handler itself returns does.
///
/// `Display` shows the message of the error. `{:#}`, which log and store use, adds its causes. The type does not
/// implement [`std::error::Error`]; otherwise `?` could not turn other errors into it.
pub struct HandlerError {
    source: Box<dyn Error + Send + Sync>,
    after: AfterError,
}

impl HandlerError {
    /// Makes an error after which the request runs again as usual. Use it for errors that do not implement
    /// [`std::error::Error`], such as a text.
    pub fn new(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { source: error.into(), after: AfterError::Usual }
    }

    /// Returns whether the request fails with this error, even if it could have more runs.
    pub fn is_permanent(&self) -> bool {
        self.after == AfterError::Permanent
    }

    /// Returns how long the request should wait before its next run. `None`: as long as usual.
    pub fn wait(&self) -> Option<Duration> {
        match self.after {
            AfterError::RetryAfter(wait) => Some(wait),
            AfterError::Usual | AfterError::Permanent => None,
        }
    }

    /// Returns the error that this one was made from.
    pub fn get_ref(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.source
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for HandlerError {
    fn from(error: E) -> Self {
        Self::new(error)
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() { Causes(&*self.source).fmt(f) } else { self.source.fmt(f) }
    }
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerError").field("source", &self.source).field("after", &self.after).finish()
    }
}

/// Makes a [`HandlerError`] that says whether its request runs again. All errors have these methods, and texts.
pub trait IntoHandlerError: Into<Box<dyn Error + Send + Sync>> {
    /// Makes an error with which the request fails, even if it could have more runs.
    fn permanent(self) -> HandlerError {
        HandlerError { after: AfterError::Permanent, ..HandlerError::new(self) }
    }

    /// Makes an error after which the request waits this long before its next run, in place of the usual wait. A wait of
    /// more than 30 days is cut to 30 days. If the request may have no other run, it fails.
    fn retry_after(self, wait: Duration) -> HandlerError {
        HandlerError { after: AfterError::RetryAfter(wait.min(LONGEST_WAIT)), ..HandlerError::new(self) }
    }
}

impl<E: Into<Box<dyn Error + Send + Sync>>> IntoHandlerError for E {}

/// Decides whether a request runs again after an error of its handler. The argument is the error.
pub(crate) type RetryIf = std::sync::Arc<dyn Fn(&dyn Any) -> bool + Send + Sync>;

/// Returns what follows a run with this error. The route's own condition comes first, then what the error says.
pub(super) fn after(error: &dyn Any, retry_if: Option<&RetryIf>) -> AfterError {
    // After a panic of the user's condition, the request runs again as usual. The panic itself is logged.
    let retries = retry_if.is_none_or(|retry_if| caught(|| retry_if(error)).unwrap_or(true));
    if retries {
        error.downcast_ref::<HandlerError>().map_or_else(AfterError::default, |error| error.after)
    } else {
        AfterError::Permanent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] std::num::ParseIntError);

    fn outer() -> Outer {
        Outer("x".parse::<u8>().unwrap_err())
    }

    #[test]
    fn an_error_says_what_follows() {
        assert_eq!(after(&HandlerError::from(outer()), None), AfterError::Usual);
        assert_eq!(after(&outer().permanent(), None), AfterError::Permanent);
        let wait = Duration::from_secs(7);
        assert_eq!(after(&"busy".retry_after(wait), None), AfterError::RetryAfter(wait));
        assert_eq!(after(&"busy".retry_after(Duration::MAX), None), AfterError::RetryAfter(LONGEST_WAIT));
        assert_eq!(after(&"any other type".to_owned(), None), AfterError::Usual);
    }

    #[test]
    fn the_condition_of_the_route_comes_first() {
        let never: RetryIf = std::sync::Arc::new(|_| false);
        let panics: RetryIf = std::sync::Arc::new(|_| panic!("as the test says"));
        let busy = "busy".retry_after(Duration::ZERO);
        assert_eq!(after(&busy, Some(&never)), AfterError::Permanent);
        assert_eq!(after(&busy, Some(&panics)), AfterError::RetryAfter(Duration::ZERO));
    }

    #[test]
    fn its_text_is_that_of_the_error_and_its_causes() {
        let error = HandlerError::from(outer());
        assert_eq!(error.to_string(), "outer");
        assert_eq!(format!("{error:#}"), "outer: invalid digit found in string");
        assert_eq!((error.is_permanent(), error.wait()), (false, None));
        assert!(error.get_ref().is::<Outer>());
    }
}
