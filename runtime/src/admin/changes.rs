//! The change feed: server-sent events about requests, their progress, and deliveries.
//!
//! An event says which row has changed its state. It does not contain the row: a client that needs the row reads it
//! with another call. A client that reads too slowly gets an event with the number of events that it has missed. Its
//! stream then continues. With the parameter `every`, changes are collected, and a flood of them is one event.

mod collected;

use std::convert::Infallible;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use http::Uri;
use tokio::sync::OwnedSemaphorePermit;

use self::collected::Collector;
use super::Admin;
use super::answer::Problem;
use super::deliveries::status_name as delivery_status;
use super::query::Parameters;
use super::requests::status_name as request_status;
use crate::problem::Code;
use postback_store::shutdown::Shutdown;
use postback_store::{Change, Feed, Heard};

/// The largest number of feeds that are open at the same time.
pub(super) const MAX_FEEDS: usize = 16;
/// The time after which a feed without events sends a comment, so that both sides see that the connection works.
const COMMENT_EVERY: Duration = Duration::from_secs(15);

/// The shortest and the longest time for which changes are collected.
const COLLECT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_mins(1);

struct Listener {
    source: Source,
    stop: Shutdown,
    _room: OwnedSemaphorePermit,
}

enum Source {
    Each(Feed),
    Collected(Collector),
}

/// `GET /changes`.
pub(super) async fn follow(State(admin): State<Arc<Admin>>, uri: Uri) -> Result<Response, Problem> {
    let parameters = Parameters::of(&uri, &["every"])?;
    let every = |text: &str| humantime::parse_duration(text).ok().filter(|every| COLLECT.contains(every));
    let every = parameters.parsed("every", "a time from 100ms to 1m, such as 1s", every)?;
    let Ok(room) = Arc::clone(&admin.feeds).try_acquire_owned() else {
        let detail = format!("{MAX_FEEDS} change feeds are open, which is the limit; close one");
        return Err(Problem::new(Code::Overloaded, detail));
    };
    let source = match every {
        None => Source::Each(admin.store.feed()),
        Some(every) => Source::Collected(Collector::new(admin.store.clone(), every)),
    };
    let listener = Listener { source, stop: admin.stop.clone(), _room: room };
    // The first event shows the client that it hears every change from now on, and whether only those of this node.
    let ready = serde_json::json!({ "shared": admin.store.is_shared() });
    let first = stream::iter([Ok(Event::default().event("ready").data(ready.to_string()))]);
    let events = stream::unfold(listener, async |mut listener| {
        let next = tokio::select! {
            biased;
            () = listener.stop.stopping() => None,
            event = listener.source.next() => event,
        };
        Some((Ok::<_, Infallible>(next?), listener))
    });
    let keep_alive = KeepAlive::new().interval(COMMENT_EVERY).text("");
    Ok(Sse::new(stream::StreamExt::chain(first, events)).keep_alive(keep_alive).into_response())
}

impl Source {
    async fn next(&mut self) -> Option<Event> {
        match self {
            Self::Each(feed) => feed.next().await.map(|heard| event(&heard)),
            Self::Collected(collector) => {
                collector.next().await.map(|changes| Event::default().event("changes").data(changes.to_string()))
            }
        }
    }
}

fn event(heard: &Heard) -> Event {
    let (name, data) = match heard {
        Heard::Change(Change::Request { id, route, status, cancelling }) => {
            let mut data = serde_json::json!({ "id": id, "status": request_status(*status) });
            if let Some(route) = route {
                data["route"] = (**route).into();
            }
            if *cancelling {
                data["cancelling"] = true.into();
            }
            ("request", data)
        }
        Heard::Change(Change::Delivery { id, subject, status }) => {
            let mut data = serde_json::json!({ "id": id.to_string(), "status": delivery_status(*status) });
            if let Some(subject) = subject {
                data["subject"] = (**subject).into();
            }
            ("delivery", data)
        }
        Heard::Change(Change::Progress { id, sequence }) => {
            ("progress", serde_json::json!({ "id": id, "sequence": sequence }))
        }
        Heard::Change(Change::Many) => ("resync", serde_json::json!({})),
        Heard::Lagged(missed) => ("lagged", serde_json::json!({ "missed": missed })),
    };
    Event::default().event(name).data(data.to_string())
}
