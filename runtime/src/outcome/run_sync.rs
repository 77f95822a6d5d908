//! Watches a body that has no `.await`: a plain closure, run to its end in one call.

use super::enter::Entered;
use super::guard::{Ambience, Guard};
use super::render::Render;
use crate::panics::caught;
use postback_wire::report::{Ends, Format};

/// Prepares the call of an annotated function whose body has no `.await`. Generated code calls this function with the
/// body of the annotated function.
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

/// A call of an annotated function whose body has no `.await`. The method `run` runs the body.
#[must_use = "nothing has run yet"]
pub struct AtOnce<B, V> {
    guard: Guard,
    body: B,
    views: V,
}

impl<B, V> AtOnce<B, V> {
    /// Sets which outcomes are reported. The default is completed, failed and cancelled.
    pub fn on(mut self, ends: Ends) -> Self {
        self.guard.set_on(ends);
        self
    }

    /// Sets the form of the reports.
    pub fn format(mut self, format: Format) -> Self {
        self.guard.set_format(format);
        self
    }

    /// Adds the member `reason` to the report if the call is not completed.
    pub fn error_reason(mut self) -> Self {
        self.guard.set_tells_reason();
        self
    }

    /// Runs the body, reports the outcome of the call, and returns the output of the body.
    pub fn run<O>(self) -> O
    where
        B: FnOnce() -> O,
        V: Render<O>,
    {
        let Self { mut guard, body, views } = self;
        if !guard.begin() {
            // The body owns the parameters of the user's function, and the `Drop` of a parameter may panic. If it
            // panicked while `unwind` unwinds the stack, the process would abort. So the body is dropped here, before
            // the call of `unwind`.
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

/// Ends a call whose body must not run. This function unwinds the stack, as a panic does, because there is no output
/// that the call could return.
///
/// The server makes such a call to learn the call's webhook without running the body. The server catches the unwinding.
/// The panic hook does not run.
#[cold]
fn unwind() -> ! {
    #[cfg(feature = "server")]
    let payload = crate::poster::ambient::NotRun;
    // Only a server makes calls whose body must not run. So without the feature `server`, this line never runs.
    #[cfg(not(feature = "server"))]
    let payload = ();
    std::panic::resume_unwind(Box::new(payload))
}
