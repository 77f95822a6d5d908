//! The sink that receives the outcomes of annotated calls during a run. The sink keeps the outcome of the request for
//! the worker. It posts the outcomes of all other calls immediately.

use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::after_run;
use crate::poster::ambient::{Call, Role, Sink};
use crate::poster::{Loss, Outbox, Registered, lost};
use postback_store::Registration;
use postback_wire::id::RequestId;
use postback_wire::report::{Ends, Json, Outcome};
use postback_wire::time::Timestamp;
use postback_wire::webhook::Target;

/// The sink of one run of a request. It receives the outcomes of annotated function calls during the run.
pub(super) struct RunSink {
    id: RequestId,
    outbox: Outbox,
    captured: Mutex<Captured>,
    registrar: Option<Registrar>,
}

/// A function that stores the webhooks that a run registers, and blocks the calling thread until the webhooks are
/// stored.
pub(super) type Registrar = Box<dyn Fn(Registration) + Send + Sync>;

/// The webhooks and the outcome of an annotated function call during a run. The call is the first one whose id is the
/// id of the running request.
#[derive(Default)]
pub(super) struct Captured {
    /// The webhooks to which the outcome of the call is reported.
    pub(super) registered: Option<Registered>,
    /// The outcome of the call. `None` if the call has not ended.
    pub(super) outcome: Option<Outcome>,
}

impl RunSink {
    pub(super) fn new(id: RequestId, outbox: Outbox) -> Self {
        Self { id, outbox, captured: Mutex::default(), registrar: None }
    }

    /// Returns this sink with a registrar. The body of the annotated function call that has the id of the request
    /// begins only after `registrar` has stored the webhooks of the call.
    pub(super) fn registering(self, registrar: Registrar) -> Self {
        Self { registrar: Some(registrar), ..self }
    }

    /// Whether the handler's result must still be serialised.
    ///
    /// Returns `false` if an annotated function call has serialised the result, or has found that the result cannot be
    /// serialised. Returns `true` if the annotated function call has failed, because the handler may still return a
    /// result of its own.
    pub(super) fn wants_result(&self) -> bool {
        self.captured().outcome.as_ref().is_none_or(|captured| !after_run::stands_for_ok(captured))
    }

    /// Whether an annotated function call has serialised a result, and `test` is true of it.
    pub(super) fn has_result(&self, test: impl FnOnce(&Json) -> bool) -> bool {
        self.captured().outcome.as_ref().and_then(|outcome| outcome.result.as_ref()).is_some_and(test)
    }

    /// Returns the webhooks that must be stored with the request. Returns `None` before an annotated function call with
    /// the id of the request has begun.
    pub(super) fn registration(&self) -> Option<Registration> {
        self.captured().registered.as_ref().map(Registered::stored)
    }

    /// Returns the webhooks that want the progress of the run. `None`: there is none, or the annotated function call has
    /// not begun.
    pub(super) fn wanting_progress(&self) -> Option<Vec<Target>> {
        let captured = self.captured();
        let wanting = captured.registered.as_ref().filter(|registered| registered.on.contains(Ends::PROGRESS));
        wanting.map(|registered| registered.webhooks.clone())
    }

    /// Removes and returns the webhooks and the outcome that this sink has received. This sink ignores later outcomes,
    /// because the run is over.
    pub(super) fn take(&self) -> Captured {
        std::mem::take(&mut self.captured())
    }

    fn captured(&self) -> MutexGuard<'_, Captured> {
        self.captured.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for RunSink {
    fn now(&self) -> Timestamp {
        self.outbox.now()
    }

    fn running(&self) -> Option<&RequestId> {
        Some(&self.id)
    }

    fn begin(&self, call: &Call) -> Role {
        if call.id() != self.id.as_str() {
            return self.outbox.begin(call);
        }
        let mut captured = self.captured();
        if captured.registered.is_some() {
            drop(captured);
            lost(Loss::SecondOutcome, call.id(), "");
            return Role::Ignored;
        }
        let webhooks = call.targets(self.outbox.default_provenance()).collect();
        let registered = Registered { webhooks, on: call.on, tells_reason: call.tells_reason };
        let registered = captured.registered.insert(registered);
        if let Some(registrar) = &self.registrar {
            let registration = registered.stored();
            drop(captured);
            registrar(registration);
        }
        Role::Held
    }

    fn end(&self, call: Call, role: Role, outcome: Outcome) {
        match role {
            Role::Held => self.captured().outcome = Some(outcome),
            Role::Posted => self.outbox.end(call, role, outcome),
            Role::Ignored | Role::Asked => {}
        }
    }

    fn end_durably(&self, call: Call, role: Role, outcome: Outcome) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        if role == Role::Posted {
            return self.outbox.end_durably(call, role, outcome);
        }
        // The role is `Held`, so this sink only saves the outcome here. The worker makes the outcome durable when it
        // commits the state of the request.
        self.end(call, role, outcome);
        Box::pin(std::future::ready(()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::poster::ambient::around;
    use crate::report_outcome;
    use postback_store::{self as store, Location, Store};
    use postback_wire::id::NodeId;
    use postback_wire::time::Clock;

    async fn sink(id: &str) -> Arc<RunSink> {
        let options = store::Options::at(Location::Memory { reports: 10, bytes: 1_000, kept: 10 });
        let store = Store::open(options, NodeId::generate(), Clock::system()).await.unwrap();
        Arc::new(RunSink::new(RequestId::stored(id), Outbox::of_server(store, Clock::system())))
    }

    #[tokio::test]
    async fn a_call_without_a_webhook_is_the_runs_own_if_its_id_is() {
        let webhook = None::<&str>;
        for (id, is_own) in [("job-7", true), ("job-77", false), ("job-", false), ("", false)] {
            let sink = sink("job-7").await;
            let call = async { report_outcome(&webhook, id, async { Ok::<_, ()>(1) }).on(Ends::FAILED).await };
            around(sink.clone(), call).await.unwrap();
            let Captured { registered, outcome } = sink.take();
            assert_eq!(registered.map(|it| (it.webhooks.len(), it.on)), is_own.then_some((0, Ends::FAILED)), "{id}");
            assert_eq!(outcome.is_some(), is_own, "{id}");
        }
    }

    #[tokio::test]
    async fn an_id_that_is_displayed_in_pieces_is_compared_whole() {
        let sink = sink("job-7").await;
        let call =
            async { report_outcome(&None::<&str>, &format_args!("{}-{}", "job", 7), async { Ok::<_, ()>(1) }).await };
        around(sink.clone(), call).await.unwrap();
        assert!(sink.take().outcome.is_some());
    }
}
