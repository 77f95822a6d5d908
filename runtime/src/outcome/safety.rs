//! Whether a call waits until its report is safe. Chosen by type, so that a call that does not wait has no room for it.

use std::pin::Pin;
use std::task::{Context, Poll};

use super::guard::Ending;

/// What happens between the end of the body and the return of the call.
pub trait Safety {
    /// What is kept while waiting.
    type Waiting<T>;

    /// Gives the outcome away; ready if the call may return now.
    fn hand_over<T>(ending: Ending, output: T, waiting: &mut Self::Waiting<T>, context: &mut Context<'_>) -> Poll<T>;

    /// `None` while the body has not ended.
    fn poll<T>(waiting: &mut Self::Waiting<T>, context: &mut Context<'_>) -> Option<Poll<T>>;
}

/// The report is handed on, and the call returns.
#[derive(Debug)]
pub enum Posted {}

/// The call returns when the report is on disk.
#[derive(Debug)]
pub enum Durably {}

/// Boxed, so that the future does not grow by the output for the sake of its last moment.
pub struct AwaitingCommit<T> {
    output: T,
    safe: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Safety for Posted {
    type Waiting<T> = ();

    fn hand_over<T>(ending: Ending, output: T, (): &mut (), _: &mut Context<'_>) -> Poll<T> {
        ending.post();
        Poll::Ready(output)
    }

    fn poll<T>((): &mut (), _: &mut Context<'_>) -> Option<Poll<T>> {
        None
    }
}

impl Safety for Durably {
    type Waiting<T> = Option<Box<AwaitingCommit<T>>>;

    fn hand_over<T>(ending: Ending, output: T, waiting: &mut Self::Waiting<T>, context: &mut Context<'_>) -> Poll<T> {
        let Some(mut safe) = ending.post_durably() else { return Poll::Ready(output) };
        if safe.as_mut().poll(context).is_ready() {
            return Poll::Ready(output);
        }
        *waiting = Some(Box::new(AwaitingCommit { output, safe }));
        Poll::Pending
    }

    fn poll<T>(waiting: &mut Self::Waiting<T>, context: &mut Context<'_>) -> Option<Poll<T>> {
        let mut held = waiting.take()?;
        if held.safe.as_mut().poll(context).is_ready() {
            return Some(Poll::Ready(held.output));
        }
        *waiting = Some(held);
        Some(Poll::Pending)
    }
}
