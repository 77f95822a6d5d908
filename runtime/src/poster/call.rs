//! One annotated call, and the trait of the sinks that take the outcomes of calls. Also the sink around the current
//! task.

use std::fmt::{self, Write as _};
use std::pin::Pin;
use std::sync::Arc;

use postback_wire::id::RequestId;
use postback_wire::report::{Ends, Format, Outcome};
use postback_wire::time::Timestamp;
use postback_wire::webhook::{Provenance, Target, Webhooks};

/// One call of an annotated function: its id, its webhooks and what its report shows. The value is made when the call
/// begins.
#[derive(Debug)]
pub(crate) struct Call {
    webhooks: Webhooks,
    id: CallId,
    pub(crate) on: Ends,
    /// Whether the call returns only when its report is on disk.
    pub(crate) durable: bool,
    /// Whether the operator chose the call's webhooks. This field has no effect on a webhook that itself says who chose
    /// it.
    pub(crate) by_operator: bool,
    /// Whether the report says why the call was not completed.
    pub(crate) tells_reason: bool,
    /// The form of the reports to webhooks that have none of their own. `None`: the settings say it.
    pub(crate) format: Option<Format>,
}

/// The place where a call's id is stored.
#[derive(Debug)]
enum CallId {
    /// The id is stored after the URLs in the text of the webhooks, so that the id needs no memory allocation. The
    /// number is the index of the first byte of the id.
    Appended(usize),
    /// The call has no webhook, and the id of the call is the id of the running request.
    Running(RequestId),
}

impl Call {
    /// Makes a call. The id of a call without a webhook is needed only if it is the id of the running request.
    /// Therefore this function compares the id of such a call with the id of the running request and does not copy it,
    /// so that the call allocates no memory.
    pub(crate) fn new(mut webhooks: Webhooks, id: impl fmt::Display, on: Ends, durable: bool) -> Self {
        let id = if webhooks.is_empty() {
            running_request(id).map_or(CallId::Appended(0), CallId::Running)
        } else {
            CallId::Appended(webhooks.append_id(id))
        };
        Self { webhooks, id, on, durable, by_operator: false, tells_reason: false, format: None }
    }

    /// Returns the call's id. Returns an empty text if the call has no webhook and its id is not the id of the running
    /// request.
    pub(crate) fn id(&self) -> &str {
        match &self.id {
            CallId::Appended(start) => self.webhooks.text_from(*start),
            CallId::Running(id) => id.as_str(),
        }
    }

    pub(crate) fn webhooks(&self) -> &Webhooks {
        &self.webhooks
    }

    /// Returns the targets of the call's webhooks. `default_provenance` says who chose a webhook, if neither the
    /// webhook nor the call contains this information.
    pub(crate) fn targets(&self, default_provenance: Provenance) -> impl Iterator<Item = Target> {
        let default_provenance = if self.by_operator { Provenance::Operator } else { default_provenance };
        self.webhooks.resolve_for(default_provenance).map(|target| target.or_format(self.format))
    }
}

/// What a sink does with a call of an annotated function and with the outcome of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The sink, which receives the outcomes of calls, does not read this outcome, because the call has no webhook or
    /// the sink cannot accept its report. So the outcome need not be serialised.
    Ignored,
    /// The sink, which receives the outcomes of calls, posts a report when the call ends. If `on` does not include the
    /// outcome of the call, there is no report, and the outcome need not be serialised.
    Posted,
    /// The outcome of the call is the outcome of the running request too. So the sink, which receives the outcomes of
    /// calls, reads this outcome, even if `on` does not include this outcome.
    Held,
    /// The call is made only so that the sink, which receives outcomes, learns the call's webhooks and id. The body of
    /// the annotated function does not run.
    #[cfg(feature = "server")]
    Asked,
}

/// The panic payload that ends a synchronous call of an annotated function before the body of the function runs.
#[cfg(feature = "server")]
pub(crate) struct NotRun;

/// Receives the outcomes of annotated function calls. The methods do not block, do not fail and do not panic.
pub(crate) trait Sink: Send + Sync {
    fn now(&self) -> Timestamp;
    /// Returns the id of the running request. Returns `None` if this sink does not belong to the run of a request.
    fn running(&self) -> Option<&RequestId> {
        None
    }
    /// Whether this sink only reads the webhook and the id of each call. If true, `begin` returns [`Role::Asked`], and
    /// the body of the call does not run.
    #[cfg(feature = "server")]
    fn asks(&self) -> bool {
        false
    }
    /// Tells this sink that a call begins. Must be called when the future of the call is polled for the first time.
    fn begin(&self, call: &Call) -> Role;
    /// Tells this sink that a call has ended. Must be called once, with the role that `begin` returned, but not for
    /// [`Role::Ignored`]. This sink makes no report if `call.on` does not include this outcome.
    fn end(&self, call: Call, role: Role, outcome: Outcome);
    /// Does the same as `end`. The returned future ends when the report is as durable as this sink can make the report.
    fn end_durably(&self, call: Call, role: Role, outcome: Outcome) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

tokio::task_local! {
    static AROUND: Arc<dyn Sink>;
}

/// Runs a future whose annotated function calls report to this sink. Tasks that the future spawns do not use the sink.
#[cfg(any(feature = "server", feature = "testing"))]
pub(crate) async fn around<F: Future>(sink: Arc<dyn Sink>, future: F) -> F::Output {
    AROUND.scope(sink, future).await
}

/// Runs code on this thread whose annotated function calls report to this sink, if there is one.
pub(super) fn within<T>(sink: Option<Arc<dyn Sink>>, code: impl FnOnce() -> T) -> T {
    match sink {
        Some(sink) => AROUND.sync_scope(sink, code),
        None => code(),
    }
}

/// Returns the sink that was installed for the current task. A sink receives the outcomes of annotated function calls.
pub(super) fn task_sink() -> Option<Arc<dyn Sink>> {
    AROUND.try_with(Arc::clone).ok()
}

/// Whether the sink of the current task only reads the webhooks and ids of calls, so that the bodies of these calls
/// must not run.
#[cfg(feature = "server")]
pub(crate) fn is_asked() -> bool {
    AROUND.try_with(|sink| sink.asks()).unwrap_or(false)
}

/// Returns the id of the request that runs in the current task, if `id` has the same text. The text of `id` comes from
/// the user's `Display`, and this function compares it without storing it.
fn running_request(id: impl fmt::Display) -> Option<RequestId> {
    // `task_sink` returns a clone of the sink. So the task's sink is not borrowed while the user's `Display` runs, and
    // the user's `Display` may use the sink.
    let sink = task_sink()?;
    sink.running().filter(|running| displays_as(id, running.as_str())).cloned()
}

fn displays_as(value: impl fmt::Display, text: &str) -> bool {
    struct Rest<'a>(&'a str);
    impl fmt::Write for Rest<'_> {
        fn write_str(&mut self, part: &str) -> fmt::Result {
            self.0 = self.0.strip_prefix(part).ok_or(fmt::Error)?;
            Ok(())
        }
    }
    let mut rest = Rest(text);
    write!(rest, "{value}").is_ok() && rest.0.is_empty()
}
