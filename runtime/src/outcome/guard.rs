//! Follows one call from its first poll to its end, and reports the end exactly once.
//!
//! Invariant: nothing here panics into the user's code, also while a value is dropped. So a panic in the user's own
//! `Drop` never meets a second one, which would abort the process.

use std::fmt;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;

use super::enter::{Entered, Missed};
use super::view::{Rendered, View};
use crate::panics::caught;
use crate::poster::ambient::{self, Call, Role, Sink};
use crate::poster::{Loss, lost};
use postback_wire::report::{Ends, Outcome, Reason};

/// The functions that receive outcomes and losses. They use the process's sink and counters, except in tests.
pub(super) struct Ambience {
    pub(super) current: fn(&Call) -> Option<Arc<dyn Sink>>,
    pub(super) lost: fn(Loss, &str, &str),
}

impl Ambience {
    pub(super) const PROCESS: Self = Self { current: ambient::sink_for, lost };
}

/// Follows one call and reports its end. If the guard is dropped before the call has ended, it reports the call as
/// dropped.
pub struct Guard {
    state: State,
    ambience: &'static Ambience,
}

enum State {
    /// The call was not polled yet, and no sink was told about the call.
    Entered(Call),
    /// The call's webhook or id is missing. At the first poll, the report is counted as lost.
    Missed(Missed),
    /// The call has begun and has not ended, and the sink was told about the call.
    Running(Running),
    /// Nothing more is to be reported.
    Over,
}

struct Running {
    call: Call,
    role: Role,
    sink: Arc<dyn Sink>,
}

impl Guard {
    pub(super) fn new(entered: Entered, ambience: &'static Ambience) -> Self {
        let state = match entered.0 {
            Ok(call) => State::Entered(call),
            Err(missed) => State::Missed(missed),
        };
        Self { state, ambience }
    }

    pub(super) fn set_on(&mut self, ends: Ends) {
        if let State::Entered(call) = &mut self.state {
            call.on = ends;
        }
    }

    /// Adds the member `reason` to the report of a call that was not completed.
    pub(super) fn set_tells_reason(&mut self) {
        if let State::Entered(call) = &mut self.state {
            call.tells_reason = true;
        }
    }

    /// Makes the call return only when its report is stored.
    pub(super) fn set_durable(&mut self) {
        if let State::Entered(call) = &mut self.state {
            call.durable = true;
        }
    }

    /// Must be called before each poll of the body. Before the first poll, tells the sink that the call begins. Returns
    /// whether the body may run.
    #[must_use]
    pub(super) fn begin(&mut self) -> bool {
        match mem::replace(&mut self.state, State::Over) {
            State::Entered(call) => {
                let Some(sink) = (self.ambience.current)(&call) else { return true };
                match sink.begin(&call) {
                    Role::Ignored => {}
                    #[cfg(feature = "server")]
                    Role::Asked => return false,
                    role => self.state = State::Running(Running { call, role, sink }),
                }
            }
            #[cfg(feature = "server")]
            State::Missed(_) if ambient::is_asked() => return false,
            State::Missed(missed) => (self.ambience.lost)(Loss::Panicked, &missed.id, &missed.detail),
            unchanged => self.state = unchanged,
        }
        true
    }

    /// Returns a value that the caller must keep during a poll of the body. If the value is dropped before
    /// [`Polling::survived`] was called, the body has panicked, and the panic is reported.
    pub(super) fn polling(&mut self) -> Polling<'_> {
        Polling(self)
    }

    /// Makes the ending of a call that has returned this result. Returns `None` if nothing is to be reported.
    pub(super) fn finish<T, E>(
        &mut self,
        result: Result<&T, &E>,
        result_view: &impl View<T>,
        error_view: &impl View<E>,
    ) -> Option<Ending> {
        let running = self.take_running()?;
        let outcome = match result {
            Ok(value) => self.completed(&running, value, result_view)?,
            Err(error) => Self::failed(&running, error, error_view),
        };
        Some(Ending { running, outcome })
    }

    fn completed<T>(&self, running: &Running, value: &T, view: &impl View<T>) -> Option<Outcome> {
        if !running.wants(Ends::COMPLETED) {
            return Some(Outcome::completed(None, running.sink.now()));
        }
        let (loss, detail) = match caught(|| view.render(value)) {
            Ok(Ok(rendered)) => return Some(Outcome::completed(rendered.json, running.sink.now())),
            Ok(Err(error)) => (Loss::Unserializable, format!("the result cannot be serialised: {error}")),
            Err(message) => (Loss::Panicked, format!("serialising the result panicked: {message}")),
        };
        // The call's outcome is the outcome of the running request. So the request counts as failed, and this failure
        // is reported.
        if running.role == Role::Held {
            return Some(Outcome::failed(Reason::Unserializable, Some(detail), running.sink.now()));
        }
        (self.ambience.lost)(loss, running.call.id(), &detail);
        None
    }

    /// Makes the outcome of a failed call. If the error cannot be rendered, the report does not show the error.
    fn failed<E>(running: &Running, error: &E, view: &impl View<E>) -> Outcome {
        let rendered =
            if running.wants(Ends::FAILED) { caught(|| view.render(error)) } else { Ok(Ok(Rendered::default())) };
        let (json, detail) = match rendered {
            Ok(Ok(rendered)) => (rendered.json, rendered.text),
            Ok(Err(error)) => (None, Some(format!("the error cannot be serialised: {error}"))),
            Err(message) => (None, Some(format!("rendering the error panicked: {message}"))),
        };
        Outcome { error: json, ..Outcome::failed(Reason::Error, detail, running.sink.now()) }
    }

    fn panicked(&mut self) {
        self.post_failure(Reason::Panic, |_| true);
    }

    /// Reports the end of a call that has no output. `Drop` implementations call this function, and a panic in them
    /// could abort the process. So panics are caught.
    fn post_failure(&mut self, reason: Reason, reported: impl FnOnce(&Running) -> bool) {
        let Some(running) = self.take_running() else { return };
        if reported(&running) {
            let _ = caught(|| {
                let outcome = Outcome::failed(reason, None, running.sink.now());
                Ending { running, outcome }.post();
            });
        }
    }

    fn take_running(&mut self) -> Option<Running> {
        match mem::replace(&mut self.state, State::Over) {
            State::Running(running) => Some(running),
            _ => None,
        }
    }
}

impl Drop for Guard {
    /// Reports the call as dropped if it has not ended. `drop` may run on any thread, while a panic unwinds, and after
    /// the runtime has ended. So this code only passes the outcome to the sink, and does nothing else.
    fn drop(&mut self) {
        // If the call's outcome is that of a request (`Role::Held`), it is not reported here. The worker has dropped
        // the run and knows why, and reports the outcome itself.
        self.post_failure(Reason::Dropped, |running| {
            running.role == Role::Posted && running.call.on.contains(Ends::DROPPED)
        });
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.state {
            State::Entered(call) => call.fmt(f),
            State::Missed(missed) => missed.fmt(f),
            State::Running(running) => running.call.fmt(f),
            State::Over => f.write_str("Over"),
        }
    }
}

impl Running {
    /// Whether the sink reads the result or the error of a call that ends in this way. If it does, they must be
    /// rendered.
    fn wants(&self, end: Ends) -> bool {
        self.role == Role::Held || self.call.on.contains(end)
    }
}

/// A value that is kept during a poll of the body. If it is dropped before [`survived`](Self::survived) was called, it
/// reports that the body has panicked.
pub(super) struct Polling<'a>(&'a mut Guard);

impl Polling<'_> {
    pub(super) fn survived(self) {
        mem::forget(self);
    }
}

impl Drop for Polling<'_> {
    fn drop(&mut self) {
        self.0.panicked();
    }
}

/// The outcome of a call that has ended, before it is passed to the sink.
pub struct Ending {
    running: Running,
    outcome: Outcome,
}

impl Ending {
    /// Passes the outcome to the sink, and does not wait. If the sink panics, which is a bug, the report is lost, but
    /// the caller is not affected.
    pub(super) fn post(self) {
        let Self { running: Running { call, role, sink }, outcome } = self;
        if let Err(message) = caught(|| sink.end(call, role, outcome)) {
            let _ = caught(|| lost(Loss::Panicked, "", &format!("taking the report panicked: {message}")));
        }
    }

    /// Passes the outcome to the sink, and returns a future that ends when the report is stored.
    ///
    /// Returns `None` if the outcome is the outcome of the running request, because then the worker commits the outcome
    /// after the call.
    pub(super) fn post_durably(self) -> Option<Pin<Box<dyn Future<Output = ()> + Send>>> {
        if self.running.role == Role::Held {
            self.post();
            return None;
        }
        let Self { running: Running { call, role, sink }, outcome } = self;
        Some(sink.end_durably(call, role, outcome))
    }
}
