//! What became of a future: watches it from its first poll to its end, and hands the outcome to the ambient sink.
//!
//! Nothing in here can fail, delay or panic the watched future: code of the user's other than its body runs in
//! [`caught`](caught::caught), and what the body returns is moved through, never touched.

mod at_once;
mod captured;
mod caught;
mod enter;
mod guard;
mod safety;
mod view;

use std::fmt::{self, Debug, Display};
use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use serde::Serialize;

pub use self::at_once::at_once;
pub use self::captured::{begin, lazily, never, nothing, returned, returns};
use self::enter::Entered;
pub use self::enter::enter;
use self::guard::{Ambience, Guard};
use self::safety::{Durably, Posted, Safety};
pub use self::view::{AsDebug, AsDisplay, AsJson, Fallible, Through, Untold, told};
use self::view::{Render, Views};
use crate::report::Ends;
use crate::webhook::IntoWebhook;

/// Reports by webhook what becomes of a future: the attribute [`async_handler`](crate::async_handler) as a function.
///
/// The result is a future that returns what `future` returns, the same value and the same error. Once it has been polled,
/// its end is reported: `Ok` as completed, `Err` or a panic as failed. `webhook` and `id` are taken down here and now, so
/// that `future` may own what they point into.
///
/// ```no_run
/// # async fn render(scene: &str) -> Result<Vec<u8>, std::io::Error> { Ok(scene.into()) }
/// # async fn caller() -> Result<(), std::io::Error> {
/// let image = postback::report_outcome("https://example.com/hooks", "job-7", render("cube"))
///     .error_display()
///     .without_result()
///     .await?;
/// # Ok(()) }
/// ```
///
/// What can be a webhook is told by [`IntoWebhook`]; an id is anything that can be displayed. A mistake in them, such as
/// a URL that is none, is counted and logged, and the future runs as ever.
pub fn report_outcome<W, I, F>(webhook: &W, id: &I, future: F) -> ReportOutcome<F>
where
    W: IntoWebhook + ?Sized,
    I: Display + ?Sized,
    F: Future<Output: Fallible>,
{
    watch(enter(|call| call.webhook(webhook), |call| call.request_id(id)), future, Views::USUAL)
}

/// The same for a call that was taken down before: what an annotated function does with its body.
pub fn watch<F: Future, V>(entered: Entered, body: F, views: V) -> ReportOutcome<F, V> {
    watch_within(&Ambience::PROCESS, entered, body, views)
}

fn watch_within<F: Future, V>(ambience: &'static Ambience, entered: Entered, body: F, views: V) -> ReportOutcome<F, V> {
    let guard = AssertUnwindSafe(Guard::new(entered, ambience));
    ReportOutcome { body, guard, views, waiting: (), safety: PhantomData }
}

pin_project! {
    /// A future whose outcome is reported; made by [`report_outcome`].
    ///
    /// The methods say what the report tells. They are meant to be called before the first poll.
    // Invariant: nothing of the body is in here twice, so the size grows by a constant; the body is dropped before the
    // guard, so that calls within it are reported first. The guard lets no panic see it half-done, hence the assertion:
    // without it this future would be less unwind-safe than its body.
    #[must_use = "a future does nothing unless it is awaited, and reports nothing either"]
    pub struct ReportOutcome<F, V = Views<AsJson, Untold>, S = Posted>
    where
        F: Future,
        S: Safety,
    {
        #[pin]
        body: F,
        guard: AssertUnwindSafe<Guard>,
        views: V,
        waiting: S::Waiting<F::Output>,
        safety: PhantomData<fn() -> S>,
    }
}

impl<F: Future, V, S: Safety> ReportOutcome<F, V, S> {
    /// Reports these ends in place of completed, failed and cancelled.
    ///
    /// Only with [`Ends::DROPPED`] is a future reported that was dropped half-way.
    pub fn on(mut self, ends: Ends) -> Self {
        self.guard.set_on(ends);
        self
    }

    /// Render in a report that it was not completed why: an error, a panic, a time limit… The member `reason` has the words of
    /// [`EndReason`](crate::EndReason). So do the methods that tell of the error itself.
    pub fn error_reason(mut self) -> Self {
        self.guard.set_tells_reason();
        self
    }

    /// Returns only when the report is on disk, where there is a durable store. Unasked, a report is handed on and the
    /// future returns at once.
    pub fn durable(self) -> ReportOutcome<F, V, Durably> {
        let Self { body, mut guard, views, .. } = self;
        guard.set_durable();
        ReportOutcome { body, guard, views, waiting: None, safety: PhantomData }
    }
}

impl<F: Future, R, E, S: Safety> ReportOutcome<F, Views<R, E>, S> {
    /// Render in a failed report the error as it is displayed. Unasked, a failed report tells no detail.
    pub fn error_display(self) -> ReportOutcome<F, Views<R, AsDisplay>, S>
    where
        F::Output: Fallible<Err: Display>,
    {
        self.error_reason().map_views(|views| views.with_error(AsDisplay))
    }

    /// Render in a failed report the error in its debug form.
    pub fn error_debug(self) -> ReportOutcome<F, Views<R, AsDebug>, S>
    where
        F::Output: Fallible<Err: Debug>,
    {
        self.error_reason().map_views(|views| views.with_error(AsDebug))
    }

    /// Render in a failed report what this function makes of the error.
    pub fn error_with<G, T>(self, shown: G) -> ReportOutcome<F, Views<R, Through<G>>, S>
    where
        F::Output: Fallible,
        G: Fn(&<F::Output as Fallible>::Err) -> T,
        T: Serialize,
    {
        self.error_reason().map_views(|views| views.with_error(Through(shown)))
    }

    /// Render in a completed report no result; the type of the result may then be any.
    pub fn without_result(self) -> ReportOutcome<F, Views<Untold, E>, S> {
        self.map_views(|views| views.with_result(Untold))
    }

    /// Render in a completed report what this function makes of the result.
    pub fn result_with<G, T>(self, shown: G) -> ReportOutcome<F, Views<Through<G>, E>, S>
    where
        F::Output: Fallible,
        G: Fn(&<F::Output as Fallible>::Ok) -> T,
        T: Serialize,
    {
        self.map_views(|views| views.with_result(Through(shown)))
    }

    fn map_views<V>(self, map: impl FnOnce(Views<R, E>) -> V) -> ReportOutcome<F, V, S> {
        let Self { body, guard, views, waiting, safety } = self;
        ReportOutcome { body, guard, views: map(views), waiting, safety }
    }
}

impl<F, V, S> Future for ReportOutcome<F, V, S>
where
    F: Future,
    V: Render<F::Output>,
    S: Safety,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Some(polled) = S::poll(this.waiting, context) {
            return polled;
        }
        if !this.guard.begin() {
            return Poll::Pending;
        }
        let polling = this.guard.polling();
        let polled = this.body.poll(context);
        polling.survived();
        let output = ready!(polled);
        match this.views.finish(this.guard, &output) {
            Some(ending) => S::hand_over(ending, output, this.waiting, context),
            None => Poll::Ready(output),
        }
    }
}

impl<F: Future, V, S: Safety> Debug for ReportOutcome<F, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReportOutcome").field("guard", &*self.guard).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
