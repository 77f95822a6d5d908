//! Turns the outcome of a call into reports in a store.

use std::pin::Pin;

use super::call::{Call, Role, Sink};
use super::fork_guard::ForkGuard;
use super::formats::{Bodies, Formats};
use super::{Loss, lost};
#[cfg(feature = "server")]
use crate::delivery::Control;
use postback_store::{self as store, NewReport, Store};
use postback_wire::line::Causes;
use postback_wire::report::{About, Outcome};
use postback_wire::time::{Clock, Timestamp};
use postback_wire::webhook::Provenance;
#[cfg(feature = "server")]
use postback_wire::webhook::Target;

/// A sink that posts the reports of an annotated function call as soon as the call ends. A clone is cheap.
#[derive(Clone)]
pub(crate) struct Outbox {
    store: Store,
    clock: Clock,
    fork_guard: ForkGuard,
    /// Which form the reports have.
    formats: Formats,
    /// Who chose a webhook, if neither the webhook nor the call contains this information.
    default_provenance: Provenance,
    /// The delivery that sends reports of a progress. `None`: nobody sends them.
    #[cfg(feature = "server")]
    delivery: Option<Control>,
}

impl Outbox {
    /// Makes the outbox of a program without a server. Such a program does not know who calls it, and its developer
    /// trusts webhooks by their URLs. So a webhook counts as the operator's choice, unless the webhook or the call says
    /// that a caller chose it.
    pub(crate) fn new(store: Store, clock: Clock) -> Self {
        Self {
            store,
            clock,
            fork_guard: ForkGuard::here(),
            formats: Formats::default(),
            default_provenance: Provenance::Operator,
            #[cfg(feature = "server")]
            delivery: None,
        }
    }

    /// Makes the outbox of a server. A server gets requests from callers. So a webhook counts as a caller's choice,
    /// unless the webhook or the call says that the operator chose it.
    #[cfg(feature = "server")]
    pub(crate) fn of_server(store: Store, clock: Clock) -> Self {
        Self { default_provenance: Provenance::Caller, ..Self::new(store, clock) }
    }

    /// Lets this delivery send the progress of runs.
    #[cfg(feature = "server")]
    pub(crate) fn telling_progress(self, delivery: Control) -> Self {
        Self { delivery: Some(delivery), ..self }
    }

    #[cfg(feature = "server")]
    pub(super) fn delivery(&self) -> Option<Control> {
        self.delivery.clone()
    }

    pub(super) fn formats(&self) -> &Formats {
        &self.formats
    }

    /// Gives the reports these forms.
    pub(crate) fn with_formats(self, formats: Formats) -> Self {
        Self { formats, ..self }
    }

    /// Returns who chose a webhook, if neither the webhook nor the call contains this information.
    pub(crate) fn default_provenance(&self) -> Provenance {
        self.default_provenance
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Whether this process was forked from the process that writes the store. In a forked process, no thread would
    /// write a posted report.
    pub(crate) fn is_forked(&self) -> bool {
        self.fork_guard.is_forked()
    }

    /// Makes the reports of a call that ended with this outcome. If a URL is not valid, the report to this URL is
    /// counted as lost.
    fn reports(&self, call: &Call, outcome: Outcome) -> Vec<NewReport> {
        let outcome = Outcome { tells_reason: call.tells_reason, ..outcome };
        if !call.on.contains(outcome.end()) {
            return Vec::new();
        }
        if self.is_forked() {
            lost(Loss::Forked, call.id(), "");
            return Vec::new();
        }
        let about = About { id: call.id(), ..About::default() };
        let mut bodies = Bodies::new(&outcome, about);
        let mut reports = Vec::new();
        for target in call.targets(self.default_provenance) {
            let (format, target) = self.formats.decide(target);
            match target.into_webhook() {
                Ok(webhook) => reports.push(NewReport::to(webhook, call.id(), bodies.of(format), outcome.finished)),
                Err(error) => lost(Loss::BadUrl, call.id(), &Causes(&error).to_string()),
            }
        }
        reports
    }
}

/// Makes a report to a webhook. If the webhook's URL is not valid, the report has the state "refused", so that the
/// record of the request shows the report.
#[cfg(feature = "server")]
pub(super) fn refused_or_new(subject: &str, target: Target, body: bytes::Bytes, created: Timestamp) -> NewReport {
    let refused = target.webhook().err().map(|error| Causes(error).to_string());
    if let Some(why) = &refused {
        lost(Loss::BadUrl, subject, why);
    }
    NewReport { refused, ..NewReport::to(target, subject, body, created) }
}

impl Sink for Outbox {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn begin(&self, call: &Call) -> Role {
        if call.webhooks().is_empty() { Role::Ignored } else { Role::Posted }
    }

    fn end(&self, call: Call, _: Role, outcome: Outcome) {
        let reports = self.reports(&call, outcome);
        if reports.is_empty() {
            return;
        }
        if let Err(error) = self.store.post(reports) {
            lost(reason_of(&error), call.id(), &Causes(&error).to_string());
        }
    }

    fn end_durably(&self, call: Call, _: Role, outcome: Outcome) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let reports = self.reports(&call, outcome);
        let store = self.store.clone();
        Box::pin(async move {
            if reports.is_empty() {
                return;
            }
            if let Err(error) = store.post_durably(reports).await {
                lost(reason_of(&error), call.id(), &Causes(&error).to_string());
            }
        })
    }
}

fn reason_of(error: &store::Error) -> Loss {
    match error {
        store::Error::Full | store::Error::Refused(_) => Loss::QueueFull,
        store::Error::Closed => Loss::NoPoster,
        store::Error::Backend(_) | store::Error::Unwritable(_) => Loss::Store,
    }
}
