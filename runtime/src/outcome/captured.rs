//! What generated code needs to take the parameters of an annotated function over into its body.

use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::process;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

/// The type that a function returns, without a name for it.
pub struct Returns<T>(PhantomData<fn() -> T>);

/// The value in it is never there: where generated code returns it, the compiler learns the type.
pub const fn returns<T>() -> (Option<T>, Returns<T>) {
    (None, Returns(PhantomData))
}

/// The same where the type has to be named.
pub const fn returned<T>() -> Returns<T> {
    Returns(PhantomData)
}

/// Nothing, in the place of a value.
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

/// Makes the code behind its call unreachable for the compiler's search for unused variables, but not for its choice of what
/// a closure captures. Generated code never calls it.
pub fn nothing() -> Infallible {
    process::abort()
}

/// Runs the code that takes the parameters over.
#[inline]
pub fn begin<T>(start: impl FnOnce() -> T) -> T {
    start()
}

/// The same at the first poll, as the body of an `async` block does.
pub const fn lazily<S, F>(start: S) -> Lazily<S, F>
where
    S: FnOnce() -> F,
    F: Future,
{
    Lazily::New { start: Some(start) }
}

pin_project! {
    /// A future that is made when it is polled first. It is as large as the larger of what it is made of and what is made.
    #[must_use = "a future does nothing unless it is awaited"]
    #[project = LazilyProjected]
    pub enum Lazily<S, F> {
        /// Not polled yet.
        New { start: Option<S> },
        /// Made.
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
            // Polled again after making it panicked: what panicked never ends.
            LazilyProjected::New { .. } => Poll::Pending,
        }
    }
}

impl<S, F> fmt::Debug for Lazily<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lazily").finish_non_exhaustive()
    }
}
