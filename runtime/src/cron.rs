//! Makes the requests of schedules: each tick of a schedule becomes an ordinary request of its route.
//!
//! The id of such a request comes from the route and the time of the tick. So the request exists once, however many nodes
//! make it, and however often the clock is set back.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use serde::{Deserialize, Serialize};

use crate::handler::{Route, Routes};
use crate::panics::caught;
use crate::policy::cron::{CronSchedule, Due};
use postback_store::shutdown::Shutdown;
use postback_store::{NewRequest, Store, Submitted, warn_unless_logged};
use postback_wire::id::RequestId;
use postback_wire::line::Causes;
use postback_wire::names::{SCHEDULED_ID, metric};
use postback_wire::time::{Clock, Timestamp};

/// The longest pause between two looks at the clock. If the clock is set, ticks are late by this time at most.
const LOOK: Duration = Duration::from_secs(10);
/// The largest number of ticks of one schedule that wait to be stored.
const MOST_WAITING: usize = 1_000;
/// The pause after an attempt to store a request that has failed.
const RETRY: Duration = Duration::from_secs(1);

/// The payload of a request that a schedule has made. A handler takes it as `Payload<Tick>`, or takes no payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tick {
    /// The time for which the schedule was due, in the schedule's time zone: RFC 3339, such as
    /// `2026-11-28T03:00:00+01:00`. If ticks were missed, it is earlier than the run.
    pub scheduled_at: String,
}

impl Tick {
    /// The body of a request for the tick at this time.
    fn body(schedule: &CronSchedule, at: Timestamp) -> Bytes {
        // A text is always valid JSON.
        serde_json::to_vec(&Self { scheduled_at: schedule.shown(at) }).unwrap_or_default().into()
    }
}

/// Returns a text for each route whose handler does not take what its schedule gives it.
pub(crate) fn faults(routes: &Routes) -> Vec<String> {
    let scheduled = routes.iter().filter_map(|route| Some((route, fault(route, route.schedule.as_ref()?)?)));
    scheduled.map(|(route, fault)| format!("{}: route {}: {fault}", route.place, route.path)).collect()
}

fn fault(route: &Route, schedule: &CronSchedule) -> Option<String> {
    let body = Tick::body(schedule, Timestamp::from_micros(0));
    let none = HeaderMap::new();
    // The handler's own code reads the body and the query, and may panic.
    let takes_body = caught(|| route.payload.is_none_or(|payload| payload.check_body(&none, &body).is_ok()));
    if !takes_body.unwrap_or(false) {
        return Some("a handler of `cron` takes no payload, or `Payload<postback::Tick>`".to_owned());
    }
    let why = match caught(|| route.check_query(&none)) {
        Ok(Ok(())) => return None,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the query: its type panics".to_owned(),
    };
    let what = "a schedule makes requests without a query, which the handler's `Query<T>` does not take";
    Some(format!("{what} ({why}); make the fields of `T` an `Option`, or give them `#[serde(default)]`"))
}

/// One schedule, and what it has still to do.
struct Scheduled {
    path: Arc<str>,
    schedule: Arc<CronSchedule>,
    /// When ticks were last looked for, and the next tick after that time. Between these two times, none is due.
    looked: Option<(Timestamp, Timestamp)>,
    /// The time up to which ticks were looked for.
    last: Timestamp,
    /// The ticks whose requests are not stored yet.
    waiting: VecDeque<Timestamp>,
}

/// Makes the requests of all schedules, until the node drains.
pub(crate) async fn run(store: Store, clock: Clock, routes: Routes, stop: Shutdown) {
    let mut all = all(&routes, &clock);
    if all.is_empty() {
        return stop.stopping().await;
    }
    let work = async {
        go_on(&store, &clock, &mut all).await;
        loop {
            let pause = turn(&store, &clock, &mut all).await;
            tokio::time::sleep(pause).await;
        }
    };
    tokio::select! {
        biased;
        () = stop.stopping() => {}
        () = work => {}
    }
}

/// Returns the schedules of the routes.
fn all(routes: &Routes, clock: &Clock) -> Vec<Scheduled> {
    let scheduled = routes.iter().filter_map(|route| Some((&route.path, Arc::clone(route.schedule.as_ref()?))));
    scheduled
        .map(|(path, schedule)| Scheduled {
            path: path.as_str().into(),
            schedule,
            looked: None,
            last: clock.now(),
            waiting: VecDeque::new(),
        })
        .collect()
}

/// Reads when each schedule was last due. A schedule that the store does not know begins now.
async fn go_on(store: &Store, clock: &Clock, all: &mut [Scheduled]) {
    let ticks = loop {
        match store.ticks().await {
            Ok(ticks) => break ticks,
            Err(error) => {
                warn_unless_logged!(error, "the last ticks of schedules cannot be read: {}", Causes(&error));
                tokio::time::sleep(RETRY).await;
            }
        }
    };
    let mut unknown = HashMap::new();
    for scheduled in all {
        match ticks.get(&*scheduled.path) {
            Some(last) => scheduled.last = *last,
            None => drop(unknown.insert(Arc::clone(&scheduled.path), clock.now())),
        }
    }
    record(store, unknown).await;
}

/// Stores the requests of all ticks that are due. Returns how long to wait before the next turn.
async fn turn(store: &Store, clock: &Clock, all: &mut [Scheduled]) -> Duration {
    let now = clock.now();
    let (mut done, mut pause) = (HashMap::new(), LOOK);
    for scheduled in all {
        scheduled.look(now);
        let last = scheduled.waiting.back().copied();
        if !scheduled.submit(store, now).await {
            pause = pause.min(RETRY);
        } else if let Some(last) = last {
            done.insert(Arc::clone(&scheduled.path), last);
        }
        if let Some((_, next)) = scheduled.looked {
            // The tick itself must be over when the loop looks, and timers are exact to a millisecond.
            pause = pause.min(next.since(now) + Duration::from_millis(1));
        }
    }
    record(store, done).await;
    pause
}

/// Records the last ticks whose requests are stored. If this fails, they are looked for again after a restart, and their
/// requests are known then.
async fn record(store: &Store, ticks: HashMap<Arc<str>, Timestamp>) {
    if ticks.is_empty() {
        return;
    }
    if let Err(error) = store.record_ticks(ticks).await {
        warn_unless_logged!(error, "the last ticks of schedules cannot be stored: {}", Causes(&error));
    }
}

impl Scheduled {
    /// Adds the ticks that are due now to those that wait.
    fn look(&mut self, now: Timestamp) {
        if self.looked.is_some_and(|(looked, next)| looked <= now && now < next) {
            return;
        }
        self.looked = self.schedule.next(now).map(|next| (now, next));
        let Due { ticks, are_dropped } = self.schedule.due(self.last, now);
        if are_dropped {
            let (route, last) = (&*self.path, self.schedule.shown(self.last));
            let n = ticks.len();
            tracing::warn!(
                route,
                "the schedule of {route} was missed after {last}; {n} of the ticks since then run now"
            );
            metrics::counter!(metric::SCHEDULE_TICKS, "route" => self.path.to_string(), "outcome" => "missed")
                .increment(1);
        }
        // If the clock was set back, nothing is due until it has reached the last tick again.
        if let Some(newest) = ticks.last() {
            self.last = *newest;
        } else if are_dropped {
            self.last = now;
        }
        self.waiting.extend(ticks);
        // While the store takes nothing, the earliest give way.
        self.waiting.drain(..self.waiting.len().saturating_sub(MOST_WAITING));
    }

    /// Stores the requests of the ticks that wait. Returns `false` if not all could be stored.
    async fn submit(&mut self, store: &Store, now: Timestamp) -> bool {
        while let Some(at) = self.waiting.front().copied() {
            let Some(request) = self.request(at, now) else { return true };
            let (id, route) = (request.id.clone(), &*self.path);
            let outcome = match store.submit(request).await {
                Ok(Submitted::New) => "submitted",
                Ok(_) => "known",
                Err(error) => {
                    warn_unless_logged!(error, request_id = %id, route, "the request {id} of a schedule cannot be stored, and is tried again: {}", Causes(&error));
                    return false;
                }
            };
            metrics::counter!(metric::SCHEDULE_TICKS, "route" => self.path.to_string(), "outcome" => outcome)
                .increment(1);
            self.waiting.pop_front();
        }
        true
    }

    fn request(&self, at: Timestamp, now: Timestamp) -> Option<NewRequest> {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        let body = Tick::body(&self.schedule, at);
        let request = NewRequest::new(id(&self.path, at)?, &*self.path, body, now);
        Some(NewRequest { chosen_id: true, headers, ..request })
    }
}

/// Returns the id of the request for the tick of a route at this time. `None`: the path is too long to be part of an id,
/// which `App::cron` does not accept.
fn id(path: &str, at: Timestamp) -> Option<RequestId> {
    let time = DateTime::<Utc>::from_timestamp_micros(at.micros())?.format("%Y%m%dT%H%M%SZ");
    let name = path.rsplit('/').next().unwrap_or_default();
    format!("{SCHEDULED_ID}{name}-{time}").parse().ok()
}

/// Returns the path of the route for a handler with this name, such as `my_app::jobs::clean_up`. `None`: the handler has
/// no name of its own, like a closure, or a name that is too long for an id.
pub(crate) fn path(name: &str) -> Option<String> {
    let name = name.split('<').next()?.rsplit("::").next()?;
    let path = format!("/cron/{name}");
    id(&path, Timestamp::from_micros(0)).map(|_| path)
}

#[cfg(test)]
mod tests;
