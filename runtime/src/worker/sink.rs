//! Takes the outcomes of annotated calls during a run. It keeps the run's own outcome for the worker, and posts all
//! others at once.

use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::after_run;
use crate::poster::ambient::{Call, Role, Sink};
use crate::poster::{Loss, Outbox, Registered, lost};
use postback_store::Registration;
use postback_wire::id::RequestId;
use postback_wire::report::Outcome;
use postback_wire::time::Timestamp;

/// The sink around one run.
pub(super) struct RunSink {
    id: RequestId,
    outbox: Outbox,
    captured: Mutex<Captured>,
    registrar: Option<Registrar>,
}

/// Stores a registration with the request. Blocks the calling thread until the registration is stored.
pub(super) type Registrar = Box<dyn Fn(Registration) + Send + Sync>;

/// What the sink learned from the outermost annotated call that has the request's id.
#[derive(Default)]
pub(super) struct Captured {
    /// Where the call reports its end.
    pub(super) registered: Option<Registered>,
    /// The call's outcome, if the call has ended.
    pub(super) outcome: Option<Outcome>,
}

impl RunSink {
    pub(super) fn new(id: RequestId, outbox: Outbox) -> Self {
        Self { id, outbox, captured: Mutex::default(), registrar: None }
    }

    /// Makes the body of the run's own call begin only after `registrar` has stored where the call reports its end.
    pub(super) fn registering(self, registrar: Registrar) -> Self {
        Self { registrar: Some(registrar), ..self }
    }

    /// Whether the handler's result still has to be serialised.
    ///
    /// It does not if an annotated call has serialised the result, or found that the result cannot be serialised. It
    /// does if that call failed, because the handler may have recovered from the failure.
    pub(super) fn wants_result(&self) -> bool {
        self.captured().outcome.as_ref().is_none_or(|captured| !after_run::stands_for_ok(captured))
    }

    /// What is to be stored with the request, if an annotated call has begun.
    pub(super) fn registration(&self) -> Option<Registration> {
        self.captured().registered.as_ref().map(Registered::stored)
    }

    /// Takes what was captured so far. Outcomes that come later are ignored, because the run is over.
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
        // The role is `Held`: the worker commits the outcome together with the request, which makes it durable.
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
    use postback_wire::report::Ends;
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
