//! Helpers of generated code that move the parameters of an annotated function into its body.

use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::process;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

/// Carries the return type of a function to code that cannot name the type.
pub struct Returns<T>(PhantomData<fn() -> T>);

/// A `None` and the [`Returns`] of its type. Generated code returns the value of the `Option`, so the compiler infers
/// the type.
pub const fn returns<T>() -> (Option<T>, Returns<T>) {
    (None, Returns(PhantomData))
}

/// The [`Returns`] of a type that generated code names.
pub const fn returned<T>() -> Returns<T> {
    Returns(PhantomData)
}

/// `None` of the type that a function returns.
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

/// Marks the code after a call of this function as unreachable. Generated code never calls the function at run time.
///
/// In unreachable code, the compiler does not count variables as used. It still makes a closure capture them.
pub fn nothing() -> Infallible {
    process::abort()
}

/// Runs the closure that captures the parameters.
#[inline]
pub fn begin<T>(start: impl FnOnce() -> T) -> T {
    start()
}

/// Runs the closure that captures the parameters at the first poll, which is when the body of an `async` block begins.
pub const fn on_first_poll<S, F>(start: S) -> Lazily<S, F>
where
    S: FnOnce() -> F,
    F: Future,
{
    Lazily::New { start: Some(start) }
}

pin_project! {
    /// A future that is made at its first poll. It is as large as the larger of its closure and the future that is
    /// made.
    #[must_use = "a future does nothing unless it is awaited"]
    #[project = LazilyProjected]
    pub enum Lazily<S, F> {
        /// Not polled yet, or `start` panicked at the first poll.
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
            // `start` panicked at an earlier poll, so there is no future that could end.
            LazilyProjected::New { .. } => Poll::Pending,
        }
    }
}

impl<S, F> fmt::Debug for Lazily<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lazily").finish_non_exhaustive()
    }
}
