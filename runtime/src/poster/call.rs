//! One annotated call, the sink that takes its outcome, and the sink around the current task.

use std::fmt::{self, Write as _};
use std::pin::Pin;
use std::sync::Arc;

use postback_wire::id::RequestId;
use postback_wire::report::{Ends, Outcome};
use postback_wire::time::Timestamp;
use postback_wire::webhook::{Provenance, Target, Webhooks};

/// One annotated call, recorded when the call begins.
#[derive(Debug)]
pub(crate) struct Call {
    webhooks: Webhooks,
    id: CallId,
    pub(crate) on: Ends,
    /// The call returns only when its report is on disk.
    pub(crate) durable: bool,
    /// The operator chose the call's webhooks, unless a webhook says otherwise itself.
    pub(crate) by_operator: bool,
    /// The report of a call that was not completed says why.
    pub(crate) tells_reason: bool,
}

/// Where the id of a call is kept.
#[derive(Debug)]
enum CallId {
    /// The id follows the URLs in the text of the webhooks, from this byte on. So it needs no allocation of its own.
    Appended(usize),
    /// The call has no webhook, and its id is that of the running request.
    Running(RequestId),
}

impl Call {
    /// If a call has no webhook, only the run of a request can need its id. So the id is compared with that of the
    /// running request and not kept, and such a call allocates nothing.
    pub(crate) fn new(mut webhooks: Webhooks, id: impl fmt::Display, on: Ends, durable: bool) -> Self {
        let id = if webhooks.is_empty() {
            running_request(id).map_or(CallId::Appended(0), CallId::Running)
        } else {
            CallId::Appended(webhooks.append_id(id))
        };
        Self { webhooks, id, on, durable, by_operator: false, tells_reason: false }
    }

    /// The call's id. Empty if the call has no webhook and its id is not that of the running request.
    pub(crate) fn id(&self) -> &str {
        match &self.id {
            CallId::Appended(start) => self.webhooks.text_from(*start),
            CallId::Running(id) => id.as_str(),
        }
    }

    pub(crate) fn webhooks(&self) -> &Webhooks {
        &self.webhooks
    }

    /// The targets of the call's webhooks. `default_provenance` says who chose a webhook if nothing else says it.
    pub(crate) fn targets(&self, default_provenance: Provenance) -> impl Iterator<Item = Target> {
        self.webhooks.resolve_for(if self.by_operator { Provenance::Operator } else { default_provenance })
    }
}

/// What a sink wants of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The sink wants nothing: the call has no webhook, or the report could not be taken. The outcome need not be
    /// serialised.
    Ignored,
    /// The sink posts a report when the call ends. An end that `on` leaves out need not be serialised.
    Posted,
    /// The call's outcome is the running request's own outcome. The sink wants it, whatever `on` says.
    Held,
    /// The sink wants to know only what the call says at its beginning. The call's body does not run.
    #[cfg(feature = "server")]
    Asked,
}

/// The panic payload that unwinds a synchronous body which must not run.
#[cfg(feature = "server")]
pub(crate) struct NotRun;

/// Takes the outcomes of calls. No method blocks, fails or panics.
pub(crate) trait Sink: Send + Sync {
    fn now(&self) -> Timestamp;
    /// The running request whose outcome the sink takes, if the sink is around a run.
    fn running(&self) -> Option<&RequestId> {
        None
    }
    /// Whether the sink only asks what calls say at their beginning. Then `begin` returns [`Role::Asked`], and no body
    /// runs.
    #[cfg(feature = "server")]
    fn asks(&self) -> bool {
        false
    }
    /// Called at the first poll of a call.
    fn begin(&self, call: &Call) -> Role;
    /// Called once when a call ends, with the role that `begin` returned, but not for [`Role::Ignored`]. The sink has
    /// to obey `call.on`.
    fn end(&self, call: Call, role: Role, outcome: Outcome);
    /// Like `end`, but the future is ready only when the report is as durable as the sink can make it.
    fn end_durably(&self, call: Call, role: Role, outcome: Outcome) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

tokio::task_local! {
    static AROUND: Arc<dyn Sink>;
}

/// Runs a future with this sink around it. Tasks that the future spawns are not inside the sink.
#[cfg(any(feature = "server", feature = "testing"))]
pub(crate) async fn around<F: Future>(sink: Arc<dyn Sink>, future: F) -> F::Output {
    AROUND.scope(sink, future).await
}

/// The sink around the current task.
pub(super) fn task_sink() -> Option<Arc<dyn Sink>> {
    AROUND.try_with(Arc::clone).ok()
}

/// Whether the sink around the current task only asks what calls say at their beginning.
#[cfg(feature = "server")]
pub(crate) fn is_asked() -> bool {
    AROUND.try_with(|sink| sink.asks()).unwrap_or(false)
}

/// The id of the request that runs around the current task, if `id` displays as this id. It runs the user's `Display`
/// and keeps nothing of its text.
fn running_request(id: impl fmt::Display) -> Option<RequestId> {
    // The sink is cloned first, because the user's `Display` may look for its sink too.
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
