//! Follows one call from its first poll to its one end, whichever that is.

use std::fmt;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;

use super::caught::caught;
use super::enter::{Entered, Missed};
use super::view::{Rendered, View};
use crate::poster::ambient::{self, Call, Role, Sink};
use crate::poster::{Loss, lost};
use crate::report::{Ends, Outcome, Reason};

/// Where outcomes and losses go. The process's, except in tests.
pub(super) struct Ambience {
    pub(super) current: fn(&Call) -> Option<Arc<dyn Sink>>,
    pub(super) lost: fn(Loss, &str, &str),
}

impl Ambience {
    pub(super) const PROCESS: Self = Self { current: ambient::sink_for, lost };
}

/// The reporting side of one call. Dropped unfinished, it tells that the future was dropped half-way.
pub struct Guard {
    state: State,
    ambience: &'static Ambience,
}

enum State {
    /// Not polled yet: nothing is known of it outside.
    Entered(Call),
    /// To be told as lost at the first poll.
    Missed(Missed),
    /// Begun and not over.
    Running(Running),
    /// Nothing more is to be told.
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

    /// A report that it was not completed tells why.
    pub(super) fn set_tells_reason(&mut self) {
        if let State::Entered(call) = &mut self.state {
            call.tells_reason = true;
        }
    }

    /// The call returns only when its report is safe.
    pub(super) fn set_durable(&mut self) {
        if let State::Entered(call) = &mut self.state {
            call.durable = true;
        }
    }

    /// Before each poll; does something before the first. Whether the body may run.
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
            same => self.state = same,
        }
        true
    }

    /// Held during a poll of the body: where it is dropped and not told that the poll survived, the body panicked.
    pub(super) fn polling(&mut self) -> Polling<'_> {
        Polling(self)
    }

    /// What the call's end comes to; `None` if nobody is to be told.
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
        let (loss, detail) = match caught(|| view.tell(value)) {
            Ok(Ok(told)) => return Some(Outcome::completed(told.json, running.sink.now())),
            Ok(Err(error)) => (Loss::Unserializable, format!("the result cannot be serialised: {error}")),
            Err(said) => (Loss::Panicked, format!("serialising the result panicked: {said}")),
        };
        // Its outcome is the request's: kept as a failure, so nothing is lost.
        if running.role == Role::Held {
            return Some(Outcome::failed(Reason::Unserializable, Some(detail), running.sink.now()));
        }
        (self.ambience.lost)(loss, running.call.id(), &detail);
        None
    }

    /// A failure is told even where its view fails: that it failed is the news.
    fn failed<E>(running: &Running, error: &E, view: &impl View<E>) -> Outcome {
        let told = if running.wants(Ends::FAILED) { caught(|| view.tell(error)) } else { Ok(Ok(Rendered::default())) };
        let (json, detail) = match told {
            Ok(Ok(told)) => (told.json, told.text),
            Ok(Err(error)) => (None, Some(format!("the error cannot be serialised: {error}"))),
            Err(said) => (None, Some(format!("telling the error panicked: {said}"))),
        };
        Outcome { error: json, ..Outcome::failed(Reason::Error, detail, running.sink.now()) }
    }

    fn panicked(&mut self) {
        if let Some(running) = self.take_running() {
            let outcome = Outcome::failed(Reason::Panic, None, running.sink.now());
            Ending { running, outcome }.post();
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
    /// Runs anywhere: on any thread, while unwinding, after the runtime. So it only hands on.
    fn drop(&mut self) {
        let Some(running) = self.take_running() else { return };
        // Under a worker the worker knows why it dropped the run.
        if running.role == Role::Posted && running.call.on.contains(Ends::DROPPED) {
            let outcome = Outcome::failed(Reason::Dropped, None, running.sink.now());
            Ending { running, outcome }.post();
        }
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
    /// Whether somebody reads what is said about such an end.
    fn wants(&self, end: Ends) -> bool {
        self.role == Role::Held || self.call.on.contains(end)
    }
}

/// See [`Guard::polling`].
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

/// An outcome on its way to the sink.
pub struct Ending {
    running: Running,
    outcome: Outcome,
}

impl Ending {
    pub(super) fn post(self) {
        let Self { running: Running { call, role, sink }, outcome } = self;
        sink.end(call, role, outcome);
    }

    /// `None` if there is nothing to wait for: the worker that holds an outcome commits it later.
    pub(super) fn post_durably(self) -> Option<Pin<Box<dyn Future<Output = ()> + Send>>> {
        if self.running.role == Role::Held {
            self.post();
            return None;
        }
        let Self { running: Running { call, role, sink }, outcome } = self;
        Some(sink.end_durably(call, role, outcome))
    }
}
