//! Replays of many deliveries. A replay goes on in a task of its own, and tells how far it has come.

mod count;

use std::collections::VecDeque;
use std::fmt::Display;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use futures_util::future::join_all;
use http::StatusCode;

pub(super) use self::count::count;
use super::Admin;
use super::answer::{Answer, Json, Problem, read};
use super::audit::{self, Actor};
use super::deliveries::{WANTED_STATUS, status, url_prefix};
use super::model::{Page, Replay, Selection};
use super::query::{time, wrong_time};
use postback_store::overview::{DeliveryFilter, DeliveryStatus};
use postback_store::shutdown::Shutdown;
use postback_store::{Error, Replayed, Store};
use postback_wire::id::{ReportId, RequestId};
use postback_wire::line::Causes;
use postback_wire::time::{Clock, Timestamp};
use postback_wire::webhook::shown;

/// The largest number of ids that one call may name.
const MAX_IDS: usize = 1_000;
/// The number of deliveries that are replayed together, so that one commit contains many of them.
const AT_ONCE: usize = 100;
/// The number of replays that are remembered.
const KEPT: usize = 20;

/// The replays of this process, the newest first. One runs at a time.
pub(super) struct Replays {
    store: Store,
    clock: Clock,
    stop: Shutdown,
    all: Mutex<VecDeque<Arc<Job>>>,
}

/// One replay.
struct Job {
    id: String,
    began: Timestamp,
    selection: Selection,
    replayed: AtomicU64,
    skipped: AtomicU64,
    /// Set when the operator has asked for the end of the replay.
    stopped: AtomicBool,
    /// How the replay ended, when, and why it failed.
    end: Mutex<Option<(&'static str, Timestamp, Option<String>)>>,
}

/// What a replay goes through.
enum Source {
    Ids(Vec<ReportId>),
    Filter(DeliveryFilter),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Replays {
    pub(super) fn new(store: Store, clock: Clock, stop: Shutdown) -> Self {
        Self { store, clock, stop, all: Mutex::default() }
    }

    fn start(&self, selection: Selection, source: Source) -> Result<Replay, Problem> {
        let mut all = lock(&self.all);
        if let Some(running) = all.iter().find(|job| lock(&job.end).is_none()) {
            let detail = format!("replay {} is still running; wait for its end, or stop it", running.id);
            return Err(Problem::conflict(detail));
        }
        let job = Arc::new(Job {
            id: RequestId::generate().to_string(),
            began: self.clock.now(),
            selection,
            replayed: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            end: Mutex::default(),
        });
        all.push_front(Arc::clone(&job));
        all.truncate(KEPT);
        let shown = job.shown();
        self.stop.spawn(run(self.store.clone(), self.clock.clone(), job, source, self.stop.clone()));
        Ok(shown)
    }

    /// Starts a replay in the name of `who`.
    pub(super) async fn start_as(&self, who: &(impl Display + Sync), selection: Selection) -> Answer<Replay> {
        let source = source(&selection, &self.clock)?;
        // The URL may contain a secret. From here on, it is only shown.
        let selection = Selection { url: selection.url.as_deref().map(shown), ..selection };
        let replay = self.start(selection, source)?;
        let selected = serde_json::to_string(&replay.selection).unwrap_or_default();
        audit::record(&self.store, who, "delivery.replay_all", &replay.id, &selected).await;
        Ok(Json(replay))
    }

    /// Returns what is known of a replay.
    pub(super) fn shown(&self, id: &str) -> Answer<Replay> {
        Ok(Json(self.find(id)?.shown()))
    }

    fn find(&self, id: &str) -> Result<Arc<Job>, Problem> {
        let unknown = || Problem::not_found(format!("there is no replay {}", id.escape_debug()));
        lock(&self.all).iter().find(|job| job.id == id).cloned().ok_or_else(unknown)
    }
}

impl Job {
    fn shown(&self) -> Replay {
        let end = lock(&self.end).clone();
        let (state, ended, error) = end.map_or(("running", None, None), |(state, at, why)| (state, Some(at), why));
        Replay {
            id: self.id.clone(),
            state: state.to_owned(),
            began: self.began.to_string(),
            ended: ended.map(|at| at.to_string()),
            selection: self.selection.clone(),
            replayed: self.replayed.load(Ordering::Relaxed),
            skipped: self.skipped.load(Ordering::Relaxed),
            error,
        }
    }

    /// Replays these deliveries.
    async fn replay(&self, store: &Store, ids: &[ReportId]) -> Result<(), Error> {
        for replayed in join_all(ids.iter().map(|id| store.replay(*id))).await {
            let counter = match replayed? {
                Replayed::As { .. } => &self.replayed,
                Replayed::NotOver | Replayed::Waiting { .. } | Replayed::NoBody | Replayed::Unknown => &self.skipped,
            };
            counter.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

async fn run(store: Store, clock: Clock, job: Arc<Job>, source: Source, stop: Shutdown) {
    let ended = match go_through(&store, &job, source, &stop).await {
        Ok(true) => ("done", None),
        Ok(false) => ("stopped", None),
        Err(error) => ("failed", Some(Causes(&error).to_string())),
    };
    let shown = job.shown();
    *lock(&job.end) = Some((ended.0, clock.now(), ended.1));
    tracing::info!(
        "replay {} is {}: {} deliveries are sent again, {} are not",
        job.id,
        ended.0,
        shown.replayed,
        shown.skipped
    );
}

/// Replays all that the source has. Returns `false` if the replay was stopped before.
async fn go_through(store: &Store, job: &Job, source: Source, stop: &Shutdown) -> Result<bool, Error> {
    let goes_on = || !job.stopped.load(Ordering::Relaxed) && !stop.is_stopping();
    match source {
        Source::Ids(ids) => {
            for ids in ids.chunks(AT_ONCE) {
                if !goes_on() {
                    return Ok(false);
                }
                job.replay(store, ids).await?;
            }
        }
        Source::Filter(filter) => {
            // The list goes from the newest delivery to the oldest. So it does not meet the deliveries that this replay
            // makes, which are newer.
            let mut before = None;
            loop {
                if !goes_on() {
                    return Ok(false);
                }
                let page = store.list_deliveries(&filter, before, AT_ONCE).await?;
                let ids: Vec<_> = page.rows.iter().map(|line| line.record.id).collect();
                job.replay(store, &ids).await?;
                before = page.next;
                if before.is_none() {
                    break;
                }
            }
        }
    }
    Ok(true)
}

/// `POST /replays`.
pub(super) async fn start(
    State(admin): State<Arc<Admin>>,
    Extension(who): Extension<Actor>,
    body: Body,
) -> Result<Response, Problem> {
    let selection: Selection = read(body).await?;
    let of_task = Arc::clone(&admin);
    let started = admin.change(async move { of_task.replays.start_as(&who, selection).await });
    let mut response = started.await?.into_response();
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}

fn source(selection: &Selection, clock: &Clock) -> Result<Source, Problem> {
    let Selection { ids, status: of, url, subject, since, until } = selection;
    let has_filter = of.is_some() || url.is_some() || subject.is_some() || since.is_some() || until.is_some();
    if ids.is_empty() != has_filter {
        return Err(Problem::invalid(
            "ids",
            "name either `ids`, or at least one of `status`, `url`, `subject`, `since` and `until`",
        ));
    }
    let members = [("status", of), ("url", url), ("subject", subject), ("since", since), ("until", until)];
    if let Some((name, _)) =
        members.iter().find(|(_, value)| value.as_deref().is_some_and(|text| text.trim().is_empty()))
    {
        return Err(Problem::invalid(
            name,
            format!("`{name}` must not be empty; leave it out to select by other members"),
        ));
    }
    // What the API does not show begins with `…`, and what follows selects nothing.
    if url.as_deref().is_some_and(|url| url_prefix(url).is_empty()) {
        return Err(Problem::invalid(
            "url",
            "`url` must begin with a part of a URL, such as https://hooks.example.com/",
        ));
    }
    if !ids.is_empty() {
        if ids.len() > MAX_IDS {
            return Err(Problem::invalid("ids", format!("`ids` has more than {MAX_IDS} ids; use several calls")));
        }
        let id = |id: &String| {
            let wrong = || Problem::invalid("ids", format!("`ids`: `{}` is not a UUID", id.escape_debug()));
            id.parse().map_err(|_| wrong())
        };
        return Ok(Source::Ids(ids.iter().map(id).collect::<Result<_, _>>()?));
    }
    let at = |name, text: &Option<String>| {
        text.as_ref().map(|text| time(text, clock).ok_or_else(|| wrong_time(name))).transpose()
    };
    let is_over = |status: &DeliveryStatus| {
        matches!(
            status,
            DeliveryStatus::Delivered | DeliveryStatus::Dead | DeliveryStatus::Refused | DeliveryStatus::Gone
        )
    };
    let of = match of {
        Some(name) => Some(status(name).filter(is_over).ok_or_else(|| {
            Problem::invalid("status", format!("`status` must be a state that is over: delivered, dead, refused or gone; the states are {WANTED_STATUS}"))
        })?),
        None => None,
    };
    Ok(Source::Filter(DeliveryFilter {
        status: of,
        url: url.as_deref().map(url_prefix),
        subject: subject.clone(),
        since: at("since", since)?,
        until: at("until", until)?,
    }))
}

/// `GET /replays`.
pub(super) async fn list(State(admin): State<Arc<Admin>>) -> Answer<Page<Replay>> {
    let items = lock(&admin.replays.all).iter().map(|job| job.shown()).collect();
    Ok(Json(Page { items, next: None }))
}

/// `GET /replays/{id}`.
pub(super) async fn show(State(admin): State<Arc<Admin>>, Path(id): Path<String>) -> Answer<Replay> {
    admin.replays.shown(&id)
}

/// `DELETE /replays/{id}`: stops a replay. What it has done stays done.
pub(super) async fn stop(
    State(admin): State<Arc<Admin>>,
    Extension(who): Extension<Actor>,
    Path(id): Path<String>,
) -> Answer<Replay> {
    let job = admin.replays.find(&id)?;
    let (of_task, to_stop) = (Arc::clone(&admin), Arc::clone(&job));
    let stopped = admin.change(async move {
        if !to_stop.stopped.swap(true, Ordering::Relaxed) {
            audit::record(&of_task.store, &who, "delivery.replay_stop", &id, "").await;
        }
        Ok(())
    });
    stopped.await?;
    Ok(Json(job.shown()))
}
