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
use postback_wire::report::{Ends, Format, Outcome, Reason};

/// The functions that find the sink of a call, which receives the outcome, and count a lost report. Outside tests, they
/// use the sink and the counters of the process.
pub(super) struct Ambience {
    pub(super) current: fn(&Call) -> Option<Arc<dyn Sink>>,
    pub(super) lost: fn(Loss, &str, &str),
}

impl Ambience {
    pub(super) const PROCESS: Self = Self { current: ambient::sink_for, lost };
}

/// A guard that follows one annotated function call and reports its outcome. If the guard is dropped before the call
/// has ended, it reports that the call was dropped.
pub struct Guard {
    state: State,
    ambience: &'static Ambience,
}

enum State {
    /// The call was not polled yet, and its sink, which receives the outcome, was not told about the call.
    Entered(Call),
    /// The code of the call's webhook or of its id panicked, so one of them is missing. The lost report is counted at
    /// the first poll.
    Missed(Missed),
    /// The sink, which receives the outcome, was told that the call has begun. The call has not ended.
    Running(Running),
    /// The outcome was reported, or nothing is to be reported.
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

    /// Sets the form of the reports to webhooks that have none of their own.
    pub(super) fn set_format(&mut self, format: Format) {
        if let State::Entered(call) = &mut self.state {
            call.format = Some(format);
        }
    }

    /// Adds the member `reason` to the report if the call is not completed.
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

    /// Must be called before each poll of the body. If it is the first poll, tells the sink that the call begins.
    /// Returns whether the body may run.
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

    /// Returns a guard for one poll of the body. If the guard is dropped before [`Polling::survived`] was called, the
    /// body has panicked, and the drop reports this panic.
    pub(super) fn polling(&mut self) -> Polling<'_> {
        Polling(self)
    }

    /// Makes the outcome of a call that has returned this result. Returns `None` if nothing is to be
    /// reported.
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
        // The outcome of the call is also the outcome of the running request. If the call's result cannot be
        // serialised, the request counts as failed, and this failure is reported.
        if running.role == Role::Held {
            return Some(Outcome::failed(Reason::Unserializable, Some(detail), running.sink.now()));
        }
        (self.ambience.lost)(loss, running.call.id(), &detail);
        None
    }

    /// Makes the outcome of a failed call. If the code that renders the error fails, the report does not show the
    /// error.
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

    /// Reports the end of a call that has returned no result, for example because it was dropped. This function catches
    /// panics, because `Drop` implementations call it, and a panic in a `Drop` could abort the process.
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
    /// Reports that the call was dropped, if the call has not ended. A drop may happen on any thread, during a panic,
    /// or after the runtime has ended. So this code does nothing except pass the outcome to the sink.
    fn drop(&mut self) {
        // If the outcome of the call is the outcome of the running request (`Role::Held`), nothing is reported here. In
        // this case, the worker has dropped the run. The worker knows why, and reports the outcome itself.
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
    /// Whether the sink of this call reads the result or the error of a call that has this outcome. If true, the result
    /// or the error must be rendered.
    fn wants(&self, end: Ends) -> bool {
        self.role == Role::Held || self.call.on.contains(end)
    }
}

/// A guard for one poll of the body. If the guard is dropped before [`survived`](Self::survived) was called, the drop
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

/// The outcome of an annotated function call that has ended, and the sink to which the outcome must be passed.
pub struct Ending {
    running: Running,
    outcome: Outcome,
}

impl Ending {
    /// Passes the outcome to the sink without waiting. If the sink panics because of a bug, this method catches the
    /// panic, so that only the report is lost.
    pub(super) fn post(self) {
        let Self { running: Running { call, role, sink }, outcome } = self;
        if let Err(message) = caught(|| sink.end(call, role, outcome)) {
            let _ = caught(|| lost(Loss::Panicked, "", &format!("taking the report panicked: {message}")));
        }
    }

    /// Passes the outcome to the sink, and returns a future that ends when the report is stored.
    ///
    /// Returns `None` if the outcome is also the outcome of the running request. The worker stores such an outcome
    /// after the call has returned.
    pub(super) fn post_durably(self) -> Option<Pin<Box<dyn Future<Output = ()> + Send>>> {
        if self.running.role == Role::Held {
            self.post();
            return None;
        }
        let Self { running: Running { call, role, sink }, outcome } = self;
        Some(sink.end_durably(call, role, outcome))
    }
}
