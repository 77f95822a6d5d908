//! Runs code of the user in places where a panic must not end a task or the process.
//!
//! A panic's payload is itself a value of the user, and its `Drop` can panic too. So a payload is dropped only if it is
//! plain text.

use std::any::Any;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
#[cfg(feature = "server")]
use std::{
    pin::Pin,
    task::{Context, Poll},
};

#[cfg(feature = "server")]
use pin_project_lite::pin_project;

/// Runs `code`. If `code` panics, returns the message of the panic as `Err`.
///
/// The panic hook runs as usual, so the log shows where the code panicked.
pub(crate) fn caught<T>(code: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(code)).map_err(message)
}

/// Returns the text of a panic. If the payload is not text, returns `(no message)` and leaks the payload.
fn message(payload: Box<dyn Any + Send>) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        return (*text).to_owned();
    }
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => {
            // The payload is leaked, because dropping it would run the user's code again, outside of `catch_unwind`.
            mem::forget(payload);
            "(no message)".to_owned()
        }
    }
}

#[cfg(feature = "server")]
pin_project! {
    /// A future that runs another future. If the other future panics, this future returns the panic's message as an
    /// error. [`contain`] makes this value.
    pub(crate) struct Contained<F> {
        #[pin]
        future: Option<F>,
    }

    impl<F> PinnedDrop for Contained<F> {
        fn drop(this: Pin<&mut Self>) {
            // If the inner future is still stored here, it has not ended, and nobody waits for its result. If dropping
            // the inner future panics, the panic is caught here, and only the panic hook logs it.
            let _ = caught(|| this.project().future.set(None));
        }
    }
}

/// Runs `future` and returns its result. If `future` panics, returns the panic's message as an error.
///
/// `future` may panic when it is polled or when it is dropped. `future` is dropped as soon as it has ended. It is never
/// dropped while another panic unwinds, because two panics at the same time would abort the process.
#[cfg(feature = "server")]
pub(crate) fn contain<F: Future>(future: F) -> Contained<F> {
    Contained { future: Some(future) }
}

#[cfg(feature = "server")]
impl<F: Future> Future for Contained<F> {
    type Output = Result<F::Output, String>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut future = self.project().future;
        // The future has ended already. If it is polled again, it returns `Pending` forever.
        let Some(running) = future.as_mut().as_pin_mut() else { return Poll::Pending };
        let polled = match caught(|| running.poll(context)) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(output)) => Ok(output),
            Err(message) => Err(message),
        };
        let dropped = caught(|| future.set(None));
        Poll::Ready(match (polled, dropped) {
            (Ok(output), Err(message)) => {
                let _ = caught(|| drop(output));
                Err(message)
            }
            (polled, _) => polled,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::panic::panic_any;

    use super::*;

    /// A value whose `drop` panics.
    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("in drop");
        }
    }

    #[test]
    fn a_panic_becomes_its_message() {
        assert_eq!(caught(|| 1), Ok(1));
        assert_eq!(caught(|| -> u8 { panic!("a text") }), Err("a text".to_owned()));
        assert_eq!(caught(|| -> u8 { panic!("a {}", "format") }), Err("a format".to_owned()));
        assert_eq!(caught(|| -> u8 { panic_any(Bomb) }), Err("(no message)".to_owned()));
    }

    #[cfg(feature = "server")]
    #[tokio::test]
    async fn a_contained_future_returns_a_result_or_the_first_panic() {
        assert_eq!(contain(async { 1 }).await, Ok(1));
        assert_eq!(contain(async { panic!("in poll") }).await, Err::<(), _>("in poll".to_owned()));
        let panics_twice = std::future::poll_fn({
            let bomb = Bomb;
            move |_| -> Poll<()> { panic!("in poll, with a bomb of {} bytes", size_of_val(&bomb)) }
        });
        assert_eq!(contain(panics_twice).await, Err("in poll, with a bomb of 0 bytes".to_owned()));
        // The future panics when it is dropped after its end, and the value that it returned panics when it is dropped.
        let returns_a_bomb = std::future::poll_fn({
            let bomb = Bomb;
            move |_| {
                let _ = &bomb;
                Poll::Ready(Bomb)
            }
        });
        assert_eq!(contain(returns_a_bomb).await.err(), Some("in drop".to_owned()));
    }

    #[cfg(feature = "server")]
    #[tokio::test]
    async fn a_contained_future_can_be_dropped_before_its_end() {
        let mut waits = Box::pin(contain(async {
            let _bomb = Bomb;
            std::future::pending::<()>().await;
        }));
        assert!(futures_util::poll!(&mut waits).is_pending());
        drop(waits);
    }
}
