//! Watches a body that has no `.await`: a plain closure, run to its end in one call.

use super::enter::Entered;
use super::guard::{Ambience, Guard};
use super::render::Render;
use crate::panics::caught;
use postback_wire::report::Ends;

/// Watches a body that has no `.await`. An annotated function calls this with its body.
pub fn run_sync<O, B: FnOnce() -> O, V: Render<O>>(entered: Entered, body: B, views: V) -> AtOnce<B, V> {
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
    /// Reports these ends instead of completed, failed and cancelled.
    pub fn on(mut self, ends: Ends) -> Self {
        self.guard.set_on(ends);
        self
    }

    /// Puts the member `reason` into the report of a call that was not completed.
    pub fn error_reason(mut self) -> Self {
        self.guard.set_tells_reason();
        self
    }

    /// Runs the body, reports its outcome, and returns its output.
    pub fn run<O>(self) -> O
    where
        B: FnOnce() -> O,
        V: Render<O>,
    {
        let Self { mut guard, body, views } = self;
        if !guard.begin() {
            // The body owns the user's parameters. It is dropped before the unwinding begins: a panic in a parameter's
            // `Drop` during the unwinding would abort the process.
            let _ = caught(|| drop((body, views)));
            unwind();
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

/// Leaves a call whose body must not run. The call has no output to return, so it unwinds.
///
/// The server, which asks a call for its webhook without running it, catches this. The panic hook does not run.
#[cold]
fn unwind() -> ! {
    #[cfg(feature = "server")]
    let payload = crate::poster::ambient::NotRun;
    // Only a server asks calls, so a library does not come here.
    #[cfg(not(feature = "server"))]
    let payload = ();
    std::panic::resume_unwind(Box::new(payload))
}
