//! Whether a call returns only when its report is stored.
//!
//! The choice is a type, so that the future of a call that does not wait needs no space for waiting.

use std::pin::Pin;
use std::task::{Context, Poll};

use super::guard::Ending;

/// Decides whether an annotated function call waits, after its body has ended, until its report is stored.
pub trait Safety {
    /// The data that the future has while it waits until the report is stored.
    type Waiting<T>;

    /// Passes the outcome to the sink, which makes the report. Returns `Ready` with the output if the call need not
    /// wait for the report.
    fn hand_over<T>(ending: Ending, output: T, waiting: &mut Self::Waiting<T>, context: &mut Context<'_>) -> Poll<T>;

    /// Polls the wait until the report is stored. Returns `None` if the body has not ended, because there is no report
    /// yet.
    fn poll<T>(waiting: &mut Self::Waiting<T>, context: &mut Context<'_>) -> Option<Poll<T>>;
}

/// A call with this type passes its outcome to the sink, which makes the report, and returns without waiting until the
/// report is stored.
#[derive(Debug)]
pub enum Posted {}

/// A call with this type returns only when its report is on disk.
#[derive(Debug)]
pub enum Durably {}

/// The output of a body that has ended, and the wait until the report is stored.
///
/// The value is boxed, because otherwise the output would make the whole future larger.
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
