//! Watches a future from its first poll to its end, and gives its outcome to the ambient sink.
//!
//! Invariant: reporting does not fail, delay or panic the watched future. All code of the user except the body runs in
//! [`caught`](crate::panics::caught). The body's output is passed on unchanged.

mod captured;
mod enter;
mod guard;
mod render;
mod run_sync;
mod safety;
mod view;

use std::fmt::{self, Debug, Display};
use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use serde::Serialize;

pub use self::captured::{begin, never, nothing, on_first_poll, returned, returns};
use self::enter::Entered;
pub use self::enter::enter;
use self::guard::{Ambience, Guard};
pub use self::render::checked_views;
use self::render::{Render, Views};
pub use self::run_sync::run_sync;
use self::safety::{Durably, Posted, Safety};
pub use self::view::{AsDebug, AsDisplay, AsJson, Fallible, Mapped, Omitted};
use postback_wire::report::{Ends, Format};
use postback_wire::webhook::IntoWebhook;

/// Reports the outcome of a future by webhook. Does the same as the attribute [`async_handler`](crate::async_handler),
/// but for any future.
///
/// Returns a future that has the same output as `future`. The outcome is reported if the returned future was polled at
/// least once: `Ok` is reported as completed, and `Err` or a panic as failed. A panic still reaches the caller. If you
/// drop the future before it has ended, nothing is reported, unless you ask for [`Ends::DROPPED`] with
/// [`on`](ReportOutcome::on).
///
/// This function reads `webhook` and `id` before it returns, and not at the first poll. So `future` may own the values
/// that `webhook` and `id` borrow from.
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
/// A webhook is a value of a type that implements [`IntoWebhook`], for example a URL as text. An id is any value that
/// implements `Display`. If the URL is invalid, or the code of `webhook` or `id` panics, no report is sent. The lost
/// report is counted and logged, and the future runs as usual.
pub fn report_outcome<W, I, F>(webhook: &W, id: &I, future: F) -> ReportOutcome<F>
where
    W: IntoWebhook + ?Sized,
    I: Display + ?Sized,
    F: Future<Output: Fallible>,
{
    watch(enter(|call| call.webhook(webhook), |call| call.request_id(id)), future, Views::DEFAULT)
}

/// Returns a future that runs the body of an annotated function and reports its outcome. `entered` contains the webhook
/// and the id of the call.
pub fn watch<F: Future, V>(entered: Entered, body: F, views: V) -> ReportOutcome<F, V> {
    watch_within(&Ambience::PROCESS, entered, body, views)
}

fn watch_within<F: Future, V>(ambience: &'static Ambience, entered: Entered, body: F, views: V) -> ReportOutcome<F, V> {
    let guard = AssertUnwindSafe(Guard::new(entered, ambience));
    ReportOutcome { body, guard, views, waiting: (), safety: PhantomData }
}

pin_project! {
    /// A future whose outcome is reported. The function [`report_outcome`] makes this future.
    ///
    /// Its methods choose which outcomes are reported and what a report shows. Call these methods before the first
    /// poll.
    // Invariants:
    // - This struct contains the body only once. So this struct is larger than the body by a constant number of bytes.
    // - The field `body` is dropped before the field `guard`. The drop of `guard` reports that this future was dropped.
    //   So annotated function calls inside the body are reported before this future.
    // - A panic never leaves the field `guard` in an invalid state. So `AssertUnwindSafe` is correct here. Without
    //   `AssertUnwindSafe`, this struct might not be `UnwindSafe` although its body is `UnwindSafe`.
    #[must_use = "a future does nothing unless it is awaited, and reports nothing either"]
    pub struct ReportOutcome<F, V = Views<AsJson, Omitted>, S = Posted>
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
    /// Sets which outcomes are reported. The default is completed, failed and cancelled.
    ///
    /// The drop of a future that has not ended is reported only if `ends` includes [`Ends::DROPPED`].
    pub fn on(mut self, ends: Ends) -> Self {
        self.guard.set_on(ends);
        self
    }

    /// Sets the form of the reports, for example that of Standard Webhooks. A webhook that has a form of its own
    /// ([`Webhook::format`](crate::Webhook::format)) keeps it.
    ///
    /// Without a call of this method, it is that of the endpoint in the settings, or `delivery.format`, or that of the
    /// poster.
    pub fn format(mut self, format: Format) -> Self {
        self.guard.set_format(format);
        self
    }

    /// Adds the member `reason` to the report of a future that was not completed. The member says why the future was
    /// not completed: an error, a panic, a time limit and so on.
    ///
    /// The values of `reason` are those of [`EndReason`](crate::EndReason). The methods that show the error itself,
    /// such as [`error_display`](Self::error_display), also add `reason`.
    pub fn error_reason(mut self) -> Self {
        self.guard.set_tells_reason();
        self
    }

    /// Makes the future return only when its report is on disk.
    ///
    /// Without this method, the future does not wait, and the report is stored in the background. With an in-memory
    /// store, which has no disk, the future returns when this store has the report.
    pub fn durable(self) -> ReportOutcome<F, V, Durably> {
        let Self { body, mut guard, views, .. } = self;
        guard.set_durable();
        ReportOutcome { body, guard, views, waiting: None, safety: PhantomData }
    }
}

impl<F: Future, R, E, S: Safety> ReportOutcome<F, Views<R, E>, S> {
    /// Adds the error's `Display` text to the report of a failed future, as the member `error`.
    ///
    /// Without `error_display`, `error_debug` or `error_with`, a report does not show the error.
    pub fn error_display(self) -> ReportOutcome<F, Views<R, AsDisplay>, S>
    where
        F::Output: Fallible<Err: Display>,
    {
        self.error_reason().map_views(|views| views.with_error(AsDisplay))
    }

    /// Adds the error's `Debug` text to the report of a failed future, as the member `error`.
    pub fn error_debug(self) -> ReportOutcome<F, Views<R, AsDebug>, S>
    where
        F::Output: Fallible<Err: Debug>,
    {
        self.error_reason().map_views(|views| views.with_error(AsDebug))
    }

    /// Calls `shown` with the error of a failed future, and adds the returned value to the report as the member
    /// `error`.
    pub fn error_with<G, T>(self, shown: G) -> ReportOutcome<F, Views<R, Mapped<G>>, S>
    where
        F::Output: Fallible,
        G: Fn(&<F::Output as Fallible>::Err) -> T,
        T: Serialize,
    {
        self.error_reason().map_views(|views| views.with_error(Mapped(shown)))
    }

    /// Leaves the result out of the report of a completed future. Without the result in the report, the type of the
    /// result need not implement `Serialize`.
    pub fn without_result(self) -> ReportOutcome<F, Views<Omitted, E>, S> {
        self.map_views(|views| views.with_result(Omitted))
    }

    /// Calls `shown` with the result of a completed future, and adds the returned value to the report as the member
    /// `result`.
    pub fn result_with<G, T>(self, shown: G) -> ReportOutcome<F, Views<Mapped<G>, E>, S>
    where
        F::Output: Fallible,
        G: Fn(&<F::Output as Fallible>::Ok) -> T,
        T: Serialize,
    {
        self.map_views(|views| views.with_result(Mapped(shown)))
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
