//! What is known of an annotated handler before it runs, and how a handler is asked for its webhook without a run.
//!
//! `#[async_handler]` announces each function that it annotates. A route finds the announcement of its handler by the
//! function's path. A handler without an announcement, such as a closure, is not known before it runs.

use std::any::type_name;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Waker};

use super::Running;
use crate::panics::caught;
use crate::poster::Registered;
use crate::poster::ambient::{self, Call, Role, Sink};
use postback_wire::id::RequestId;
use postback_wire::report::Outcome;
use postback_wire::time::{Clock, Timestamp};
use postback_wire::webhook::Provenance;

/// The facts about one annotated function that the server knows before the function runs.
#[derive(Debug)]
pub struct Announcement {
    /// Returns the path of an item that is declared inside the annotated function. This path begins with the path of
    /// the function.
    pub within: fn() -> &'static str,
    /// The source text of the expression `webhook` in the function's attribute.
    pub webhook: &'static str,
    /// Whether and how the server can ask the function for its webhook without running the body of the function.
    pub probe: WebhookProbe,
    /// What the expressions in the function's attribute do.
    pub reads: Reads,
}

/// What the expressions in an attribute do when they are evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// The expression `webhook` is a field of a parameter, and the expression `request_id` is a parameter.
    Plain,
    /// The expressions only read values, so their evaluation has no side effects.
    Pure,
    /// The evaluation of the expressions may have side effects.
    Impure,
}

inventory::collect!(Announcement);

/// Whether and how the server can ask an annotated function for its webhook without running the body of the function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookProbe {
    /// The server cannot ask the function for its webhook, because code of the user would run before the attribute's
    /// expressions.
    Impossible,
    /// The body of the function is a future. The server drops this future before the first poll.
    ByDrop,
    /// The body of the function has no `.await`. The server calls the function. This call unwinds the stack, as a panic
    /// does, before the body begins, and the server catches the unwinding.
    ByUnwind,
}

impl WebhookProbe {
    fn is_possible(self) -> bool {
        match self {
            Self::Impossible => false,
            Self::ByDrop => true,
            Self::ByUnwind => cfg!(panic = "unwind"),
        }
    }
}

/// Returns the path of a function, as the compiler formats it.
pub fn type_path<T>(_: &T) -> &'static str {
    type_name::<T>()
}

impl Announcement {
    /// Returns the announcement of the annotated function with this path. Returns `None` if there is no such function.
    pub(super) fn of(path: &str) -> Option<&'static Self> {
        // The path of a generic function ends with its type arguments. They are removed here, because the path in the
        // announcement does not contain them.
        let path = path.split_once('<').map(|(path, _)| path).filter(|path| !path.is_empty()).unwrap_or(path);
        inventory::iter::<Self>.into_iter().find(|announced| announced.function() == path)
    }

    /// Returns the path of the annotated function, which is the first part of the path of an item that is declared
    /// inside the function.
    fn function(&self) -> &'static str {
        let within = (self.within)();
        let end = ["::{{closure}}", "::_::within"].iter().filter_map(|part| within.find(part)).min();
        end.and_then(|end| within.get(..end)).unwrap_or(within)
    }

    /// Whether the server can ask this function for its webhook without running the body of the function.
    pub(super) fn can_be_asked(&self) -> bool {
        self.probe.is_possible()
    }
}

/// The answer of a handler that the server has asked to which webhooks it would report.
pub(crate) struct Asked {
    pub(crate) registered: Registered,
    /// Whether the annotated function call has the id of the request. If true, the call's webhooks get the report of
    /// the request.
    pub(crate) is_requests: bool,
    /// Whether the operator chose the webhook. The macro finds this out from the attribute's expression `webhook`.
    pub(crate) is_operator: bool,
}

/// Asks a handler for its webhook: begins a run of the handler and ends this run before the body begins.
///
/// Returns `None` if the run ends before the webhook is known, for example because the payload does not fit the
/// handler.
pub(super) fn ask(id: &RequestId, run: Running) -> Option<Asked> {
    let sink = Arc::new(Asks { id: id.clone(), asked: Mutex::default() });
    let around = Arc::clone(&sink) as Arc<dyn Sink>;
    // A panic of the user's code is ignored. If the annotated function call began before the panic, the sink of the
    // call has received the webhooks and the id. Otherwise this function returns `None`.
    let _ = caught(move || {
        let mut run = Box::pin(ambient::around(around, run));
        run.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
    });
    sink.asked.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// A sink that records the webhook of a handler, for a run in which the body does not run.
struct Asks {
    id: RequestId,
    asked: Mutex<Option<Asked>>,
}

impl Sink for Asks {
    fn now(&self) -> Timestamp {
        Clock::system().now()
    }

    fn running(&self) -> Option<&RequestId> {
        Some(&self.id)
    }

    fn asks(&self) -> bool {
        true
    }

    fn begin(&self, call: &Call) -> Role {
        let webhooks = call.targets(Provenance::Caller).collect();
        let asked = Asked {
            registered: Registered { webhooks, on: call.on, tells_reason: call.tells_reason },
            is_requests: call.id() == self.id.as_str(),
            is_operator: call.by_operator,
        };
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(asked);
        Role::Asked
    }

    fn end(&self, _: Call, _: Role, _: Outcome) {}

    fn end_durably(&self, _: Call, _: Role, _: Outcome) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::ready(()))
    }
}

#[cfg(test)]
mod tests;
