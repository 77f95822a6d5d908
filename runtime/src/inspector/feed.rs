//! The feed of the page: server-sent events with the webhooks that match a filter. A client that comes back loses nothing.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::Shared;
use super::filter::Filter;
use super::page::refusal;

/// The largest number of feeds that are open at the same time.
pub(super) const MAX_FEEDS: usize = 16;
/// The time after which a feed without events sends a comment, so that both sides see that the connection works.
const COMMENT_EVERY: Duration = Duration::from_secs(15);
/// The largest number of changes that are taken from the history at once.
const BATCH: usize = 100;

#[derive(Deserialize)]
pub(super) struct Wanted {
    #[serde(default)]
    filter: String,
    /// The id of the last event that the client has, if it cannot send the header `last-event-id`.
    #[serde(default)]
    last: String,
}

struct Reader {
    shared: Arc<Shared>,
    filter: Filter,
    seen: u64,
    changed: watch::Receiver<u64>,
    waiting: VecDeque<Event>,
    _room: OwnedSemaphorePermit,
}

/// `GET feed`.
pub(super) async fn follow(
    State(shared): State<Arc<Shared>>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Response {
    let filter = match wanted.filter.parse::<Filter>() {
        Ok(filter) => filter,
        // An event, because a browser tells a page nothing about the answer to a feed that is refused.
        Err(why) => {
            let fault = Event::default().event("fault").data(json!({"detail": why}).to_string());
            return Sse::new(stream::iter([Ok::<_, Infallible>(fault)])).into_response();
        }
    };
    let Ok(room) = Arc::clone(&shared.feeds).try_acquire_owned() else {
        let why = format!("{MAX_FEEDS} pages are open, which is the limit; close one");
        return refusal(StatusCode::SERVICE_UNAVAILABLE, &why);
    };
    let header = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let (seen, is_new) = seen(&shared.run, header.unwrap_or(&wanted.last));
    let mut waiting = VecDeque::new();
    if is_new {
        // What the client has is from another process.
        waiting.push_back(Event::default().event("clear").data("{}"));
    }
    waiting.push_back(Event::default().event("ready").data(json!({"checks": !shared.keys.is_empty()}).to_string()));
    let changed = shared.history.watch();
    let reader = Reader { shared, filter, seen, changed, waiting, _room: room };
    let events = stream::unfold(reader, async |mut reader| {
        let event = reader.next().await?;
        Some((Ok::<_, Infallible>(event), reader))
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(COMMENT_EVERY).text("")).into_response()
}

/// Reads the id of an event. Returns the version that the client has seen, and whether the client must start anew.
fn seen(run: &str, id: &str) -> (u64, bool) {
    match id.rsplit_once('-').map(|(of, version)| (of, version.parse())) {
        Some((of, Ok(version))) if of == run => (version, false),
        _ => (0, true),
    }
}

impl Reader {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            // Marked as seen first: a change after this line wakes the wait below.
            self.changed.borrow_and_update();
            if self.read() {
                continue;
            }
            tokio::select! {
                () = self.shared.stop.stopping() => return None,
                changed = self.changed.changed() => changed.ok()?,
            }
        }
    }

    /// Takes a batch of changes from the history. Returns `false` if the history has no new change.
    fn read(&mut self) -> bool {
        let changes = self.shared.history.after(self.seen, BATCH);
        let is_some = changes.version != self.seen || changes.cleared;
        let id = |version: u64| format!("{}-{version}", self.shared.run);
        if changes.cleared {
            // Without an id: if the client goes away before the next event, it must clear once more.
            self.waiting.push_back(Event::default().event("clear").data("{}"));
        }
        for entry in &changes.entries {
            if !self.filter.holds(&entry.hit, entry.answer.as_ref()) {
                continue;
            }
            let mut data = entry.hit.summary(entry.answer.as_ref());
            data["oldest"] = changes.oldest.into();
            self.waiting.push_back(Event::default().event("hit").id(id(entry.version)).data(data.to_string()));
        }
        if is_some && self.waiting.len() < 2 {
            // The client learns its position, even if nothing matched.
            let data = json!({"oldest": changes.oldest});
            self.waiting.push_back(Event::default().event("seen").id(id(changes.version)).data(data.to_string()));
        }
        self.seen = changes.version;
        is_some
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_another_process_starts_anew() {
        assert_eq!(seen("ab", "ab-7"), (7, false));
        for id in ["", "ab", "ab-", "ab-x", "cd-7", "-7", "ab--7"] {
            assert_eq!(seen("ab", id), (0, true), "{id}");
        }
    }
}
