//! What the attribute of a handler says of it before it runs, and how it is asked where the end of a request is reported.
//!
//! `#[async_handler]` announces each function that it stands on. A route finds the announcement of its handler by the
//! function's path; where there is none, as for a closure, nothing is known before a run.

use std::any::type_name;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Waker};

use super::Running;
use crate::id::RequestId;
use crate::panics::caught;
use crate::poster::Registered;
use crate::poster::ambient::{self, Call, Role, Sink};
use crate::report::Outcome;
use crate::time::{Clock, Timestamp};
use crate::webhook::Provenance;

/// What the attribute says of one function.
#[derive(Debug)]
pub struct Announced {
    /// The path of something within the function.
    pub within: fn() -> &'static str,
    /// The expression `webhook`, as it was written.
    pub webhook: &'static str,
    /// How the webhook is asked for.
    pub asking: Asking,
    /// Nobody can notice that its expressions are evaluated: they only read.
    pub is_plain: bool,
}

inventory::collect!(Announced);

/// Whether the webhook can be asked for without a run, and what becomes of the body then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asking {
    /// Not at all: there is other code before it.
    Never,
    /// The body waits, and is dropped before it begins.
    Waits,
    /// The body cannot wait: the call is unwound before it.
    Unwinds,
}

impl Asking {
    fn is_possible(self) -> bool {
        match self {
            Self::Never => false,
            Self::Waits => true,
            Self::Unwinds => cfg!(panic = "unwind"),
        }
    }
}

/// The path of a function.
pub fn path_of<T>(_: &T) -> &'static str {
    type_name::<T>()
}

impl Announced {
    /// That of the function of this path.
    pub(super) fn of(path: &str) -> Option<&'static Self> {
        // A generic function has its types behind it.
        let path = path.split_once('<').map(|(path, _)| path).filter(|path| !path.is_empty()).unwrap_or(path);
        inventory::iter::<Self>.into_iter().find(|announced| announced.function() == path)
    }

    /// The path of the function: what is within it has that before its own.
    fn function(&self) -> &'static str {
        let within = (self.within)();
        let end = ["::{{closure}}", "::_::within"].iter().filter_map(|part| within.find(part)).min();
        end.and_then(|end| within.get(..end)).unwrap_or(within)
    }

    /// Whether [`ask`] can be called.
    pub(super) fn can_be_asked(&self) -> bool {
        self.asking.is_possible()
    }
}

/// What a handler said when it was asked.
pub(crate) struct Asked {
    pub(crate) registered: Registered,
    /// It would report the end of the request, and not of something else.
    pub(crate) is_requests: bool,
    /// The operator's side chose where, as far as the expression shows.
    pub(crate) is_operators: bool,
}

/// Begins a run of an announced handler, and drops it where its body would begin. `None` if it did not come so far.
pub(super) fn ask(id: &RequestId, run: Running) -> Option<Asked> {
    let sink = Arc::new(Asks { id: id.clone(), asked: Mutex::default() });
    let around = Arc::clone(&sink) as Arc<dyn Sink>;
    // A panic does not matter: the sink has the answer, unless the handler panicked before its call began.
    let _ = caught(move || {
        let mut run = Box::pin(ambient::around(around, run));
        run.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
    });
    sink.asked.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// The sink around a handler that is asked.
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
            is_operators: call.by_operator,
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
