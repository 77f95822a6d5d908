//! Who takes the outcome of an annotated call: the sink around the current task, else the one of the process.

#[cfg(feature = "testing")]
use std::cell::RefCell;
use std::fmt::{self, Write as _};
#[cfg(feature = "testing")]
use std::marker::PhantomData;
use std::pin::Pin;
#[cfg(feature = "testing")]
use std::rc::Rc;
use std::sync::{Arc, PoisonError, RwLock};

use super::engine::Flusher;
use super::fork_guard::ForkGuard;
use super::{Loss, PosterBuilder, lost};
use crate::id::RequestId;
use crate::line::Causes;
use crate::report::{Ends, Outcome};
use crate::time::{Clock, Timestamp};
use crate::webhook::{Provenance, Target, Webhooks};

/// One annotated call, taken down on entry.
#[derive(Debug)]
pub(crate) struct Call {
    webhooks: Webhooks,
    id: Id,
    pub(crate) on: Ends,
    /// The call returns only when its report is on disk.
    pub(crate) durable: bool,
    /// Its webhooks are the operator's choice, unless they say otherwise themselves.
    pub(crate) by_operator: bool,
    /// A report that it was not completed tells why.
    pub(crate) tells_reason: bool,
}

/// Where a call's id is kept.
#[derive(Debug)]
enum Id {
    /// Behind the URLs, from there on: in the same allocation.
    StoreFlusher(usize),
    /// It is that of the running request, and there is no URL.
    Running(RequestId),
}

impl Call {
    /// Of a call without webhooks, nobody asks for the id but the run that it may be of. So it is compared and not kept, and
    /// such a call allocates nothing.
    pub(crate) fn new(mut webhooks: Webhooks, id: impl fmt::Display, on: Ends, durable: bool) -> Self {
        let id = if webhooks.is_empty() {
            running_request(id).map_or(Id::StoreFlusher(0), Id::Running)
        } else {
            Id::StoreFlusher(webhooks.append_id(id))
        };
        Self { webhooks, id, on, durable, by_operator: false, tells_reason: false }
    }

    /// Empty if there is no webhook and the id is not that of the running request.
    pub(crate) fn id(&self) -> &str {
        match &self.id {
            Id::StoreFlusher(start) => self.webhooks.text_from(*start),
            Id::Running(id) => id.as_str(),
        }
    }

    pub(crate) fn webhooks(&self) -> &Webhooks {
        &self.webhooks
    }

    /// What its webhooks come to; `unsaid` chose those of which it cannot be told who did.
    pub(crate) fn targets(&self, default_provenance: Provenance) -> impl Iterator<Item = Target> {
        self.webhooks.resolve_for(if self.by_operator { Provenance::Operator } else { default_provenance })
    }
}

/// What the sink wants of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Nothing: there is no webhook, or nobody who could take a report. The outcome need not be serialised.
    Ignored,
    /// A report, posted at once when the call ends. Ends that `on` leaves out need not be serialised.
    Posted,
    /// It is the running request's own outcome: wanted whatever `on` says.
    Held,
    /// Only the entry of the call was wanted: its body is not to run.
    #[cfg(feature = "server")]
    Asked,
}

/// What a body that cannot wait is unwound with, where it is not to run.
#[cfg(feature = "server")]
pub(crate) struct NotRun;

/// Takes outcomes. Nothing here blocks, fails or panics.
pub(crate) trait Sink: Send + Sync {
    fn now(&self) -> Timestamp;
    /// The request whose outcome it holds, if it is around a run.
    fn running(&self) -> Option<&RequestId> {
        None
    }
    /// Whether it wants to know of calls and to run none: `begin` answers [`Role::Asked`].
    #[cfg(feature = "server")]
    fn asks(&self) -> bool {
        false
    }
    /// At the first poll of the call.
    fn begin(&self, call: &Call) -> Role;
    /// At its end, once, with the role that `begin` gave; not for [`Role::Ignored`]. `call.on` is the sink's to obey.
    fn end(&self, call: Call, role: Role, outcome: Outcome);
    /// The same; ready when the report is as safe as the sink can make it.
    fn end_durably(&self, call: Call, role: Role, outcome: Outcome) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

tokio::task_local! {
    static AROUND: Arc<dyn Sink>;
}

/// Runs a future with this sink around it. Tasks that it spawns are outside.
#[cfg(any(feature = "server", feature = "testing"))]
pub(crate) async fn around<F: Future>(sink: Arc<dyn Sink>, future: F) -> F::Output {
    AROUND.scope(sink, future).await
}

#[cfg(feature = "testing")]
thread_local! {
    /// The last is the innermost.
    static ON_THREAD: RefCell<Vec<Arc<dyn Sink>>> = const { RefCell::new(Vec::new()) };
}

/// While it lives, this sink takes what is told on the thread, wherever no other is around the task.
#[cfg(feature = "testing")]
pub(crate) struct OnThread {
    sink: Arc<dyn Sink>,
    /// It has to be dropped where it was made.
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
        // Fails only when the thread ends, and all of it with it.
        let _ = ON_THREAD.try_with(|sinks| sinks.borrow_mut().retain(|sink| !Arc::ptr_eq(sink, &self.sink)));
    }
}

#[cfg(feature = "testing")]
fn on_thread() -> Option<Arc<dyn Sink>> {
    ON_THREAD.try_with(|sinks| sinks.borrow().last().cloned()).ok().flatten()
}

/// Told of each call whose report no sink around the task or on the thread takes.
#[cfg(feature = "testing")]
static MISSED_OBSERVER: std::sync::OnceLock<fn(&Call)> = std::sync::OnceLock::new();

/// Whom to tell of calls that no sink around the task or on the thread takes. The first one stays.
#[cfg(feature = "testing")]
pub(crate) fn observe_missed(tell: fn(&Call)) {
    MISSED_OBSERVER.get_or_init(|| tell);
}

/// The sink around the current task, else the process's, which a call that has nothing to report has no use for. If there
/// is none, starts an in-memory poster.
pub(crate) fn sink_for(call: &Call) -> Option<Arc<dyn Sink>> {
    let around = AROUND.try_with(Arc::clone).ok();
    #[cfg(feature = "testing")]
    let around = around.or_else(on_thread);
    #[cfg(feature = "testing")]
    if let (None, Some(tell)) = (&around, MISSED_OBSERVER.get()) {
        tell(call);
    }
    around.or_else(|| (!call.webhooks().is_empty()).then(|| process_sink().unwrap_or_else(start_default)))
}

/// Whether the sink around the current task only asks.
#[cfg(feature = "server")]
pub(crate) fn is_asked() -> bool {
    AROUND.try_with(|sink| sink.asks()).unwrap_or(false)
}

/// The id of the request that is being run around here, if this is it. Runs the user's `Display`, and keeps nothing of it.
fn running_request(id: impl fmt::Display) -> Option<RequestId> {
    // Cloned first: the user's code may look for its sink, too.
    let sink = AROUND.try_with(Arc::clone).ok()?;
    sink.running().filter(|running| displays_as(id, running.as_str())).cloned()
}

fn displays_as(value: impl fmt::Display, text: &str) -> bool {
    struct Rest<'a>(&'a str);
    impl fmt::Write for Rest<'_> {
        fn write_str(&mut self, part: &str) -> fmt::Result {
            self.0 = self.0.strip_prefix(part).ok_or(fmt::Error)?;
            Ok(())
        }
    }
    let mut rest = Rest(text);
    write!(rest, "{value}").is_ok() && rest.0.is_empty()
}

/// Who takes reports in this process.
#[derive(Clone)]
struct Installed {
    sink: Arc<dyn Sink>,
    /// How to know that its reports are safe; not where there is no poster.
    flusher: Option<Flusher>,
    /// A fork may install its own.
    fork_guard: ForkGuard,
}

static PROCESS: RwLock<Option<Installed>> = RwLock::new(None);

fn process_sink() -> Option<Arc<dyn Sink>> {
    PROCESS.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(|installed| Arc::clone(&installed.sink))
}

/// How to flush the process's poster, if there is one.
pub(super) fn flusher() -> Option<Flusher> {
    PROCESS.read().unwrap_or_else(PoisonError::into_inner).as_ref().and_then(|installed| installed.flusher.clone())
}

/// There is a sink already, be it one that started by itself.
pub(crate) struct AlreadyInstalled;

/// Installs a sink for the whole process, and how to flush it. It stays to the end.
pub(crate) fn install(sink: Arc<dyn Sink>, flusher: Flusher) -> Result<(), AlreadyInstalled> {
    let mut process = PROCESS.write().unwrap_or_else(PoisonError::into_inner);
    if process.as_ref().is_some_and(|installed| !installed.fork_guard.is_forked()) {
        return Err(AlreadyInstalled);
    }
    let of_parent = process.replace(Installed { sink, flusher: Some(flusher), fork_guard: ForkGuard::here() });
    // Its files are another process's: to close them here would let go of that one's locks.
    std::mem::forget(of_parent);
    Ok(())
}

/// Whether this process has a sink, be it one that started by itself.
pub(super) fn is_installed() -> bool {
    let process = PROCESS.read().unwrap_or_else(PoisonError::into_inner);
    process.as_ref().is_some_and(|installed| !installed.fork_guard.is_forked())
}

#[cold]
fn start_default() -> Arc<dyn Sink> {
    let mut process = PROCESS.write().unwrap_or_else(PoisonError::into_inner);
    if let Some(installed) = &*process {
        return Arc::clone(&installed.sink);
    }
    let installed = match PosterBuilder::default().start() {
        Ok((poster, guard)) => {
            if !poster.is_disabled() {
                tracing::warn!(
                    "no poster is installed: reports are kept in memory, and those not yet delivered end with the \
                     process; install one at the start of main with `postback::Poster::builder()…install()`"
                );
            }
            // It lives as long as the process.
            std::mem::forget(guard);
            Installed { sink: poster.sink(), flusher: Some(poster.flusher()), fork_guard: ForkGuard::here() }
        }
        Err(error) => {
            tracing::error!("no poster is installed, and none can be started: {}", Causes(&error));
            Installed { sink: Arc::new(NoPosterSink), flusher: None, fork_guard: ForkGuard::here() }
        }
    };
    Arc::clone(&process.insert(installed).sink)
}

/// Counts what it is given.
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
