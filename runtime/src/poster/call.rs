//! One annotated call, and the trait of the sinks that take the outcomes of calls. Also the sink around the current
//! task.

use std::fmt::{self, Write as _};
use std::pin::Pin;
use std::sync::Arc;

use postback_wire::id::RequestId;
use postback_wire::report::{Ends, Outcome};
use postback_wire::time::Timestamp;
use postback_wire::webhook::{Provenance, Target, Webhooks};

/// One call of an annotated function. The value is made when the call begins.
#[derive(Debug)]
pub(crate) struct Call {
    webhooks: Webhooks,
    id: CallId,
    pub(crate) on: Ends,
    /// If true, the call returns only when its report is on disk.
    pub(crate) durable: bool,
    /// If true, the operator chose the call's webhooks, except for webhooks that say otherwise.
    pub(crate) by_operator: bool,
    /// If true, the report says why the call was not completed.
    pub(crate) tells_reason: bool,
}

/// Where the id of a call is kept.
#[derive(Debug)]
enum CallId {
    /// The id is stored in the text of the webhooks, after the URLs. The number is the index of the id's first byte. So
    /// the id needs no memory of its own.
    Appended(usize),
    /// The call has no webhook, and its id is the id of the running request.
    Running(RequestId),
}

impl Call {
    /// Makes a call. If the call has no webhook, its id is needed only if it is the id of the running request. So the
    /// id is compared and not stored, and the call allocates no memory.
    pub(crate) fn new(mut webhooks: Webhooks, id: impl fmt::Display, on: Ends, durable: bool) -> Self {
        let id = if webhooks.is_empty() {
            running_request(id).map_or(CallId::Appended(0), CallId::Running)
        } else {
            CallId::Appended(webhooks.append_id(id))
        };
        Self { webhooks, id, on, durable, by_operator: false, tells_reason: false }
    }

    /// The call's id. Empty if the call has no webhook and its id is not the id of the running request.
    pub(crate) fn id(&self) -> &str {
        match &self.id {
            CallId::Appended(start) => self.webhooks.text_from(*start),
            CallId::Running(id) => id.as_str(),
        }
    }

    pub(crate) fn webhooks(&self) -> &Webhooks {
        &self.webhooks
    }

    /// The targets of the call's webhooks. `default_provenance` says who chose a webhook, if neither the webhook nor
    /// the call says it.
    pub(crate) fn targets(&self, default_provenance: Provenance) -> impl Iterator<Item = Target> {
        self.webhooks.resolve_for(if self.by_operator { Provenance::Operator } else { default_provenance })
    }
}

/// What a sink does with a call and its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The sink does not need the outcome, because the call has no webhook or its report could not be accepted. The
    /// outcome need not be serialised.
    Ignored,
    /// The sink posts a report when the call ends. If `on` leaves out the call's outcome, the outcome need not be
    /// serialised.
    Posted,
    /// The call's outcome is also the outcome of the running request. The sink needs it, even if `on` leaves it out.
    Held,
    /// The sink only reads the call's webhooks and id. The call's body does not run.
    #[cfg(feature = "server")]
    Asked,
}

/// The panic payload with which a synchronous call is ended before its body runs.
#[cfg(feature = "server")]
pub(crate) struct NotRun;

/// Takes the outcomes of calls. The methods do not block, do not fail and do not panic.
pub(crate) trait Sink: Send + Sync {
    fn now(&self) -> Timestamp;
    /// The id of the running request, if the sink takes the outcome of a run.
    fn running(&self) -> Option<&RequestId> {
        None
    }
    /// Whether the sink only reads what calls say before their bodies run. Then `begin` returns [`Role::Asked`], and no
    /// body runs.
    #[cfg(feature = "server")]
    fn asks(&self) -> bool {
        false
    }
    /// Called when a call is polled for the first time.
    fn begin(&self, call: &Call) -> Role;
    /// Called once when a call ends, with the role that `begin` returned. Not called for [`Role::Ignored`]. The sink
    /// must make no report if `call.on` leaves out this outcome.
    fn end(&self, call: Call, role: Role, outcome: Outcome);
    /// Does the same as `end`. The future is ready only when the report is as durable as the sink can make it.
    fn end_durably(&self, call: Call, role: Role, outcome: Outcome) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

tokio::task_local! {
    static AROUND: Arc<dyn Sink>;
}

/// Runs a future with this sink around it. The sink does not apply to tasks that the future spawns.
#[cfg(any(feature = "server", feature = "testing"))]
pub(crate) async fn around<F: Future>(sink: Arc<dyn Sink>, future: F) -> F::Output {
    AROUND.scope(sink, future).await
}

/// The sink around the current task.
pub(super) fn task_sink() -> Option<Arc<dyn Sink>> {
    AROUND.try_with(Arc::clone).ok()
}

/// Whether the sink around the current task only reads what calls say before their bodies run.
#[cfg(feature = "server")]
pub(crate) fn is_asked() -> bool {
    AROUND.try_with(|sink| sink.asks()).unwrap_or(false)
}

/// The id of the request that runs in the current task, if `id` has the same text. The user's `Display` makes this
/// text, and the text is not stored.
fn running_request(id: impl fmt::Display) -> Option<RequestId> {
    // `task_sink` returns a clone of the sink. So the sink is not borrowed while the user's `Display` runs, which may
    // use the task's sink too.
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
