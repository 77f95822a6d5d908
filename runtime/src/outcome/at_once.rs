//! A body that never waits, watched without being a future.

use super::enter::Entered;
use super::guard::{Ambience, Guard};
use super::view::Render;
use crate::report::Ends;

/// What an annotated function does with a body that has no `.await`.
pub fn at_once<O, B: FnOnce() -> O, V: Render<O>>(entered: Entered, body: B, views: V) -> AtOnce<B, V> {
    at_once_within(&Ambience::PROCESS, entered, body, views)
}

pub(super) fn at_once_within<O, B: FnOnce() -> O, V: Render<O>>(
    ambience: &'static Ambience,
    entered: Entered,
    body: B,
    views: V,
) -> AtOnce<B, V> {
    AtOnce { guard: Guard::new(entered, ambience), body, views }
}

/// A call that is about to run.
#[must_use = "nothing has run yet"]
pub struct AtOnce<B, V> {
    guard: Guard,
    body: B,
    views: V,
}

impl<B, V> AtOnce<B, V> {
    /// See [`ReportOutcome::on`](super::ReportOutcome::on).
    pub fn on(mut self, ends: Ends) -> Self {
        self.guard.set_on(ends);
        self
    }

    /// See [`ReportOutcome::error_reason`](super::ReportOutcome::error_reason).
    pub fn error_reason(mut self) -> Self {
        self.guard.set_tells_reason();
        self
    }

    /// Runs the body, and hands its outcome on.
    pub fn run<O>(self) -> O
    where
        B: FnOnce() -> O,
        V: Render<O>,
    {
        let Self { mut guard, body, views } = self;
        if !guard.begin() {
            not_run();
        }
        let polling = guard.polling();
        let output = body();
        polling.survived();
        if let Some(ending) = views.finish(&mut guard, &output) {
            ending.post();
        }
        output
    }
}

/// There is no value to return. Who asked catches this; no panic hook hears of it.
#[cold]
fn not_run() {
    #[cfg(feature = "server")]
    std::panic::resume_unwind(Box::new(crate::poster::ambient::NotRun));
}
