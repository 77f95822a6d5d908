//! What annotated calls tell during a run: the run's own outcome is held, everything else is posted at once.

use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::after_run;
use crate::id::RequestId;
use crate::poster::ambient::{Call, Role, Sink};
use crate::poster::{Loss, Outbox, Registered, lost};
use crate::report::Outcome;
use crate::store::Registration;
use crate::time::Timestamp;

/// The sink around one run.
pub(super) struct RunSink {
    id: RequestId,
    outbox: Outbox,
    told: Mutex<Captured>,
    registrar: Option<Registrar>,
}

/// Returns when this is stored with the request.
pub(super) type Registrar = Box<dyn Fn(Registration) + Send + Sync>;

/// What the outermost annotated call with the request's id said.
#[derive(Default)]
pub(super) struct Captured {
    pub(super) registered: Option<Registered>,
    /// Its outcome, if it came to its end.
    pub(super) held: Option<Outcome>,
}

impl RunSink {
    pub(super) fn new(id: RequestId, outbox: Outbox) -> Self {
        Self { id, outbox, told: Mutex::default(), registrar: None }
    }

    /// The run's own call begins only when this has stored where it is reported.
    pub(super) fn registering(self, registrar: Registrar) -> Self {
        Self { registrar: Some(registrar), ..self }
    }

    /// Whether the handler's result still has to be serialised: not if an annotated call did, or found that it cannot be.
    /// One that failed did not, and the handler may have made up for it.
    pub(super) fn wants_result(&self) -> bool {
        let told = self.told();
        told.held.as_ref().is_none_or(|held| !after_run::stands_for_ok(held))
    }

    /// What is to be kept with the request, if an annotated call said so by now.
    pub(super) fn registration(&self) -> Option<Registration> {
        self.told().registered.as_ref().map(Registered::stored)
    }

    /// What was told so far. Later outcomes come to nothing: the run is over.
    pub(super) fn take(&self) -> Captured {
        std::mem::take(&mut self.told())
    }

    fn told(&self) -> MutexGuard<'_, Captured> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
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
        let mut told = self.told();
        if told.registered.is_some() {
            drop(told);
            lost(Loss::SecondOutcome, call.id(), "");
            return Role::Ignored;
        }
        let webhooks = call.targets(self.outbox.default_provenance()).collect();
        let registered = Registered { webhooks, on: call.on, tells_reason: call.tells_reason };
        let registered = told.registered.insert(registered);
        if let Some(registrar) = &self.registrar {
            let registration = registered.stored();
            drop(told);
            registrar(registration);
        }
        Role::Held
    }

    fn end(&self, call: Call, role: Role, outcome: Outcome) {
        match role {
            Role::Held => self.told().held = Some(outcome),
            Role::Posted => self.outbox.end(call, role, outcome),
            Role::Ignored | Role::Asked => {}
        }
    }

    fn end_durably(&self, call: Call, role: Role, outcome: Outcome) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        if role == Role::Posted {
            return self.outbox.end_durably(call, role, outcome);
        }
        // Held: the worker commits it with the request, which is as durable as it gets.
        self.end(call, role, outcome);
        Box::pin(std::future::ready(()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::id::NodeId;
    use crate::poster::ambient::around;
    use crate::report::Ends;
    use crate::report_outcome;
    use crate::store::{self, Location, Store};
    use crate::time::Clock;

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
            let Captured { registered, held } = sink.take();
            assert_eq!(registered.map(|it| (it.webhooks.len(), it.on)), is_own.then_some((0, Ends::FAILED)), "{id}");
            assert_eq!(held.is_some(), is_own, "{id}");
        }
    }

    #[tokio::test]
    async fn an_id_that_is_displayed_in_pieces_is_compared_whole() {
        let sink = sink("job-7").await;
        let call =
            async { report_outcome(&None::<&str>, &format_args!("{}-{}", "job", 7), async { Ok::<_, ()>(1) }).await };
        around(sink.clone(), call).await.unwrap();
        assert!(sink.take().held.is_some());
    }
}
