//! Finds the sink that takes the outcome of an annotated call. This is the sink around the current task. If the task
//! has no sink, it is the sink of the process.

#[cfg(feature = "testing")]
use std::cell::RefCell;
#[cfg(feature = "testing")]
use std::marker::PhantomData;
use std::pin::Pin;
#[cfg(feature = "testing")]
use std::rc::Rc;
use std::sync::Arc;

#[cfg(any(feature = "server", feature = "testing"))]
pub(crate) use super::call::around;
use super::call::task_sink;
pub(crate) use super::call::{Call, Role, Sink};
#[cfg(feature = "server")]
pub(crate) use super::call::{NotRun, is_asked};
use super::process::{self, Installed};
#[cfg(feature = "server")]
pub(crate) use super::process::{install, uninstall};
use super::{Loss, PosterBuilder, lost};
use postback_wire::line::Causes;
use postback_wire::report::Outcome;
use postback_wire::time::{Clock, Timestamp};

#[cfg(feature = "testing")]
thread_local! {
    /// The sinks that were installed for this thread. The last sink in the list receives the outcomes of annotated
    /// function calls on this thread.
    static ON_THREAD: RefCell<Vec<Arc<dyn Sink>>> = const { RefCell::new(Vec::new()) };
}

/// A guard that installs a sink for the current thread. While the guard lives, its sink receives the outcomes of
/// annotated function calls on this thread, unless the current task has a sink.
#[cfg(feature = "testing")]
pub(crate) struct OnThread {
    sink: Arc<dyn Sink>,
    /// Makes this type `!Send`, because a value of this type must be dropped on the thread on which the value was made.
    _here: PhantomData<Rc<()>>,
}

#[cfg(feature = "testing")]
impl OnThread {
    pub(crate) fn enter(sink: Arc<dyn Sink>) -> Self {
        ON_THREAD.with_borrow_mut(|sinks| sinks.push(Arc::clone(&sink)));
        Self { sink, _here: PhantomData }
    }
}

#[cfg(feature = "testing")]
impl Drop for OnThread {
    fn drop(&mut self) {
        // `try_with` fails only while the thread ends. In this case, the sinks of the thread need not be removed,
        // because they are dropped with the thread.
        let _ = ON_THREAD.try_with(|sinks| sinks.borrow_mut().retain(|sink| !Arc::ptr_eq(sink, &self.sink)));
    }
}

#[cfg(feature = "testing")]
fn on_thread() -> Option<Arc<dyn Sink>> {
    ON_THREAD.try_with(|sinks| sinks.borrow().last().cloned()).ok().flatten()
}

/// The function that is called for each annotated function call for which neither the task nor the thread has a sink.
#[cfg(feature = "testing")]
static MISSED_OBSERVER: std::sync::OnceLock<fn(&Call)> = std::sync::OnceLock::new();

/// Sets the function that is called for each annotated function call for which neither the task nor the thread has a
/// sink. If such a function was set before, nothing changes.
#[cfg(feature = "testing")]
pub(crate) fn observe_missed(observer: fn(&Call)) {
    MISSED_OBSERVER.get_or_init(|| observer);
}

/// Returns the sink that receives the outcome of this call. This is the sink of the current task. If the task has no
/// sink, it is the sink of the thread, which only tests install, or the sink of the process. If there is none of these
/// sinks, starts an in-memory poster and returns its sink. The sink of the process is returned only if the call has
/// webhooks, because a call without webhooks has nothing to report.
pub(crate) fn sink_for(call: &Call) -> Option<Arc<dyn Sink>> {
    let around = task_sink();
    #[cfg(feature = "testing")]
    let around = around.or_else(on_thread);
    #[cfg(feature = "testing")]
    if let (None, Some(observer)) = (&around, MISSED_OBSERVER.get()) {
        observer(call);
    }
    let of_process = || process::sink().unwrap_or_else(|| process::sink_or_start(start_default));
    around.or_else(|| (!call.webhooks().is_empty()).then(of_process))
}

/// Starts an in-memory poster that runs until the process ends.
#[cold]
fn start_default() -> Installed {
    match PosterBuilder::default().start() {
        Ok((poster, guard)) => {
            if !poster.is_disabled() {
                tracing::warn!(
                    "no poster is installed: reports are kept in memory, and reports that are not delivered when the process \
                     ends are lost; install a poster at the start of main with `postback::Poster::builder()…install()`"
                );
            }
            // `forget` prevents the drop of the poster's guard, because the drop would stop the poster.
            std::mem::forget(guard);
            Installed::of(&poster)
        }
        Err(error) => {
            tracing::error!("no poster is installed, and the default poster cannot be started: {}", Causes(&error));
            Installed::none(Arc::new(NoPosterSink))
        }
    }
}

/// A sink for a process in which the default poster could not be started. The sink counts each report as lost.
struct NoPosterSink;

impl Sink for NoPosterSink {
    fn now(&self) -> Timestamp {
        Clock::system().now()
    }

    fn begin(&self, call: &Call) -> Role {
        if !call.webhooks().is_empty() {
            lost(Loss::NoPoster, call.id(), "");
        }
        Role::Ignored
    }

    fn end(&self, _: Call, _: Role, _: Outcome) {}

    fn end_durably(&self, _: Call, _: Role, _: Outcome) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::ready(()))
    }
}
