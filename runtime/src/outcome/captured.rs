//! Helpers of generated code that move the parameters of an annotated function into its body.

use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::process;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

/// A value without data whose type parameter is a function's return type. Generated code uses this value to refer to a
/// return type that it cannot name.
pub struct Returns<T>(PhantomData<fn() -> T>);

/// Returns a `None` of the type `Option<T>` and a [`Returns<T>`](Returns). Generated code returns the value of the
/// `Option` from the user's function, so that the compiler infers `T` from the return type of the function.
pub const fn returns<T>() -> (Option<T>, Returns<T>) {
    (None, Returns(PhantomData))
}

/// Makes a [`Returns`], a value without data whose type parameter is a function's return type. Generated code calls
/// this function if it can name the return type.
pub const fn returned<T>() -> Returns<T> {
    Returns(PhantomData)
}

/// Returns a `None` of the type `Option<T>`, where `T` is the return type of the user's function. Generated code calls
/// this function if it cannot name this return type.
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

/// Never runs. Generated code contains a call of this function, so that the compiler knows that the code after this
/// call is unreachable.
///
/// A closure captures the variables that its unreachable code names, but the compiler does not count these variables as
/// used.
pub fn nothing() -> Infallible {
    process::abort()
}

/// Calls a closure and returns its result. Generated code passes the closure that captures the parameters of the user's
/// function.
#[inline]
pub fn begin<T>(start: impl FnOnce() -> T) -> T {
    start()
}

/// Makes a future that calls the closure `start` at its first poll, as an `async` block runs its body only when it is
/// polled. Generated code passes the closure that captures the parameters of the user's function.
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
        /// The state before the first poll. `start` is `None` if it panicked at the first poll.
        New { start: Option<S> },
        /// The state after the first poll, with the future that `start` has returned.
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
            // `start` panicked at an earlier poll and returned no future. So this future never becomes ready.
            LazilyProjected::New { .. } => Poll::Pending,
        }
    }
}

impl<S, F> fmt::Debug for Lazily<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lazily").finish_non_exhaustive()
    }
}
