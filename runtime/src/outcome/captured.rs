//! Helpers of generated code that move the parameters of an annotated function into its body.

use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::process;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

/// A value without data whose type parameter is a function's return type. Generated code uses it where it cannot name
/// the return type.
pub struct Returns<T>(PhantomData<fn() -> T>);

/// Returns a `None` and a [`Returns`] of the same type `T`. Generated code returns the value of the `Option` from the
/// user's function, so that the compiler infers `T` from the function's return type.
pub const fn returns<T>() -> (Option<T>, Returns<T>) {
    (None, Returns(PhantomData))
}

/// Makes a [`Returns`], a value without data whose type parameter is a function's return type. Generated code calls
/// this function if it can name the return type.
pub const fn returned<T>() -> Returns<T> {
    Returns(PhantomData)
}

/// Returns a `None`. The type of its value is the return type of a function, which generated code may be unable to
/// name.
pub const fn never<T>(_: Returns<T>) -> Option<T> {
    None
}

impl<T> Clone for Returns<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Returns<T> {}

impl<T> fmt::Debug for Returns<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Returns")
    }
}

/// Makes the code after a call of this function unreachable for the compiler. The call itself never runs.
///
/// The compiler does not count variables as used if only unreachable code names them. But a closure that contains such
/// code captures them.
pub fn nothing() -> Infallible {
    process::abort()
}

/// Calls a closure. Generated code passes the closure that captures the user's parameters.
#[inline]
pub fn begin<T>(start: impl FnOnce() -> T) -> T {
    start()
}

/// Makes a future that calls a closure at its first poll, when the body of an `async` block would begin too. Generated
/// code passes the closure that captures the user's parameters.
pub const fn on_first_poll<S, F>(start: S) -> Lazily<S, F>
where
    S: FnOnce() -> F,
    F: Future,
{
    Lazily::New { start: Some(start) }
}

pin_project! {
    /// A future that calls a closure at its first poll, and then runs the future that the closure has returned. The
    /// size of this type is the size of the closure or of the returned future, whichever is larger.
    #[must_use = "a future does nothing unless it is awaited"]
    #[project = LazilyProjected]
    pub enum Lazily<S, F> {
        /// The future was not polled yet, or `start` panicked at the first poll.
        New { start: Option<S> },
        /// The future that `start` has made.
        Begun { #[pin] future: F },
    }
}

impl<S, F> Future for Lazily<S, F>
where
    S: FnOnce() -> F,
    F: Future,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let LazilyProjected::New { start } = self.as_mut().project()
            && let Some(start) = start.take()
        {
            let future = start();
            self.set(Self::Begun { future });
        }
        match self.project() {
            LazilyProjected::Begun { future } => future.poll(context),
            // `start` panicked at an earlier poll. So there is no inner future, and this future never ends.
            LazilyProjected::New { .. } => Poll::Pending,
        }
    }
}

impl<S, F> fmt::Debug for Lazily<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lazily").finish_non_exhaustive()
    }
}
