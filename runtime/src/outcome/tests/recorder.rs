//! A sink that keeps the outcomes that it is given. There is one per thread, and each test runs on its own thread.

use std::cell::RefCell;
use std::fmt::Display;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use tokio::sync::Semaphore;

use crate::outcome::enter::{Entered, enter};
use crate::outcome::guard::Ambience;
use crate::outcome::render::{Render, Views};
use crate::outcome::run_sync::{AtOnce, at_once_within};
use crate::outcome::{ReportOutcome, watch_within};
use crate::poster::Loss;
use crate::poster::ambient::{Call, Role, Sink};
use postback_wire::report::Outcome;
use postback_wire::time::Timestamp;
use postback_wire::webhook::IntoWebhook;

pub(crate) struct Recorder {
    role: Role,
    /// Whether this sink panics when a call ends.
    panics: bool,
    kept: Mutex<Kept>,
    safe: Arc<Semaphore>,
}

#[derive(Default)]
struct Kept {
    began: Vec<String>,
    ended: Vec<Ended>,
    lost: Vec<(Loss, String)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) id: String,
    pub(crate) role: Role,
    pub(crate) outcome: Outcome,
    pub(crate) report: String,
    pub(crate) durably: bool,
}

thread_local! {
    static INSTALLED: RefCell<Option<Arc<Recorder>>> = const { RefCell::new(None) };
}

static RECORDED: Ambience = Ambience { current: |_| Some(installed()), lost: |loss, id, _| installed().lose(loss, id) };

fn installed() -> Arc<Recorder> {
    INSTALLED.with_borrow(Clone::clone).expect("the test installs a recorder")
}

/// Reports the outcome of a future to the recorder of this thread. Otherwise the same as [`postback::report_outcome`].
pub(crate) fn report_outcome<F: Future>(
    webhook: &(impl IntoWebhook + ?Sized),
    id: impl Display,
    body: F,
) -> ReportOutcome<F> {
    watch(enter(|call| call.webhook(webhook), |call| call.request_id(&id)), body, Views::DEFAULT)
}

pub(crate) fn watch<F: Future, V>(entered: Entered, body: F, views: V) -> ReportOutcome<F, V> {
    watch_within(&RECORDED, entered, body, views)
}

pub(crate) fn run_sync<O, B: FnOnce() -> O, V: Render<O>>(entered: Entered, body: B, views: V) -> AtOnce<B, V> {
    at_once_within(&RECORDED, entered, body, views)
}

impl Recorder {
    pub(crate) fn install(role: Role) -> Arc<Self> {
        Self::install_with(role, false)
    }

    /// Installs a recorder that panics when a call ends, and does not record the end.
    pub(crate) fn install_panicking(role: Role) -> Arc<Self> {
        Self::install_with(role, true)
    }

    fn install_with(role: Role, panics: bool) -> Arc<Self> {
        let recorder = Arc::new(Self { role, panics, kept: Mutex::default(), safe: Arc::new(Semaphore::new(0)) });
        INSTALLED.set(Some(recorder.clone()));
        recorder
    }

    /// Returns the id and the URLs of each call that has begun.
    pub(crate) fn began(&self) -> Vec<String> {
        self.kept.lock().unwrap().began.clone()
    }

    pub(crate) fn ended(&self) -> Vec<Ended> {
        self.kept.lock().unwrap().ended.clone()
    }

    pub(crate) fn ids(&self) -> Vec<String> {
        self.ended().into_iter().map(|ended| ended.id).collect()
    }

    pub(crate) fn reports(&self) -> Vec<String> {
        self.ended().into_iter().map(|ended| ended.report).collect()
    }

    pub(crate) fn lost(&self) -> Vec<(Loss, String)> {
        self.kept.lock().unwrap().lost.clone()
    }

    /// Ends the wait of a durable call, as if the report of the call had just been stored.
    pub(crate) fn safe(&self) {
        self.safe.add_permits(1);
    }

    fn lose(&self, loss: Loss, id: &str) {
        self.kept.lock().unwrap().lost.push((loss, id.to_owned()));
    }

    fn keep(&self, call: &Call, role: Role, outcome: Outcome, durably: bool) {
        assert!(!self.panics, "the test asks for a panic");
        let id = call.id().to_owned();
        let outcome = Outcome { tells_reason: call.tells_reason, ..outcome };
        let report = String::from_utf8(outcome.to_report(&id).to_vec()).unwrap();
        assert!(call.durable || !durably);
        self.kept.lock().unwrap().ended.push(Ended { id, role, outcome, report, durably });
    }
}

impl Sink for Recorder {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(7_000_000)
    }

    fn begin(&self, call: &Call) -> Role {
        let urls = call.webhooks().resolve().map(|target| format!(" {}", target.url()));
        let began = std::iter::once(call.id().to_owned()).chain(urls).collect();
        self.kept.lock().unwrap().began.push(began);
        self.role
    }

    fn end(&self, call: Call, role: Role, outcome: Outcome) {
        self.keep(&call, role, outcome, false);
    }

    fn end_durably(&self, call: Call, role: Role, outcome: Outcome) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.keep(&call, role, outcome, true);
        let safe = self.safe.clone();
        Box::pin(async move { drop(safe.acquire().await) })
    }
}
