//! Changes that are collected for a while before they are sent, for a page that shows rows to a person.
//!
//! A busy server changes thousands of rows a second, and nobody can look at so many. So a collection has a bound. If more
//! rows change, it only says that many have, and stops listening until its time is over. So an open page costs a busy
//! server the same few changes a second, however many there are.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{delivery_status, request_status};
use postback_store::{Change, Feed, Heard, Store};

/// The largest number of rows in one event.
const MAX_ROWS: usize = 100;
/// How long a collection waits after its first change. The rows of one request mostly change within this time.
const AT_LEAST: Duration = Duration::from_millis(50);

/// Collects the changes of a store.
pub(super) struct Collector {
    store: Store,
    /// The shortest time from one event to the next.
    every: Duration,
    last: Option<Instant>,
    /// `None` while nothing is heard.
    feed: Option<Feed>,
}

/// What has changed since the last event. A row that changes several times is there once, with its last state.
#[derive(Default)]
struct Changes {
    requests: HashMap<String, Value>,
    deliveries: HashMap<String, Value>,
    is_many: bool,
}

impl Collector {
    pub(super) fn new(store: Store, every: Duration) -> Self {
        let feed = Some(store.feed());
        Self { store, every, last: None, feed }
    }

    /// Waits for changes, and returns the next event. `None`: the store is closed. The future is not cancel-safe: if it
    /// is dropped, what it has collected is lost.
    pub(super) async fn next(&mut self) -> Option<Value> {
        let Self { store, every, last, feed } = self;
        let heard = feed.get_or_insert_with(|| store.feed());
        let mut changes = Changes::default();
        changes.add(heard.next().await?);
        let soon = Instant::now() + AT_LEAST;
        let until = last.map_or(soon, |last| soon.max(last + *every));
        while !changes.is_many {
            match timeout_at(until, heard.next()).await {
                Ok(heard) => changes.add(heard?),
                Err(_) => break,
            }
        }
        if changes.is_many {
            // Nothing is heard now, so the store need not tell of its changes. What changes before the new feed is in the
            // rows that the client reads after the event.
            *feed = None;
            sleep_until(until).await;
            *feed = Some(store.feed());
        }
        *last = Some(Instant::now());
        Some(changes.shown())
    }
}

impl Changes {
    fn add(&mut self, heard: Heard) {
        match heard {
            Heard::Change(Change::Request { id, status, cancelling, .. }) => {
                let mut row = json!({ "id": id, "status": request_status(status) });
                if cancelling {
                    row["cancelling"] = true.into();
                }
                self.requests.insert(id.to_string(), row);
            }
            // A progress changes the request, and not its status.
            Heard::Change(Change::Progress { id, .. }) => {
                self.requests.entry(id.to_string()).or_insert_with(|| json!({ "id": id }));
            }
            Heard::Change(Change::Delivery { id, subject, status }) => {
                let id = id.to_string();
                let subject = subject.map(|subject| Value::from(&*subject));
                let subject = subject.or_else(|| Some(self.deliveries.get(&id)?.get("subject")?.clone()));
                let mut row = json!({ "id": id, "status": delivery_status(status) });
                if let Some(subject) = subject {
                    row["subject"] = subject;
                }
                self.deliveries.insert(id, row);
            }
            Heard::Change(Change::Many) | Heard::Lagged(_) => self.is_many = true,
        }
        self.is_many |= self.requests.len() + self.deliveries.len() > MAX_ROWS;
    }

    fn shown(self) -> Value {
        if self.is_many {
            return json!({ "many": true });
        }
        let rows = |rows: HashMap<String, Value>| rows.into_values().collect::<Vec<_>>();
        json!({ "requests": rows(self.requests), "deliveries": rows(self.deliveries) })
    }
}

#[cfg(test)]
mod tests {
    use postback_store::overview::{DeliveryStatus, RequestStatus};
    use postback_wire::id::{ReportId, RequestId};

    use super::*;

    fn request(id: &RequestId, status: RequestStatus) -> Heard {
        Heard::Change(Change::Request { id: id.clone(), route: None, status, cancelling: false })
    }

    #[test]
    fn a_row_is_there_once_with_its_last_state() {
        let (mut changes, id, report) = (Changes::default(), RequestId::generate(), ReportId::generate());
        changes.add(request(&id, RequestStatus::Running));
        changes.add(Heard::Change(Change::Progress { id: id.clone(), sequence: 1 }));
        changes.add(request(&id, RequestStatus::Completed));
        let subject = Some(id.as_str().into());
        changes.add(Heard::Change(Change::Delivery { id: report, subject, status: DeliveryStatus::Pending }));
        changes.add(Heard::Change(Change::Delivery { id: report, subject: None, status: DeliveryStatus::Delivered }));
        let shown = changes.shown();
        assert_eq!(shown["requests"], json!([{ "id": id, "status": "completed" }]));
        let delivered = json!({ "id": report.to_string(), "status": "delivered", "subject": id });
        assert_eq!(shown["deliveries"], json!([delivered]));
    }

    #[test]
    fn more_rows_than_the_bound_are_many() {
        let mut changes = Changes::default();
        for _ in 0..MAX_ROWS {
            changes.add(request(&RequestId::generate(), RequestStatus::Queued));
        }
        assert!(!changes.is_many);
        changes.add(request(&RequestId::generate(), RequestStatus::Queued));
        assert_eq!(changes.shown(), json!({ "many": true }));
        for heard in [Heard::Lagged(3), Heard::Change(Change::Many)] {
            let mut changes = Changes::default();
            changes.add(heard);
            assert_eq!(changes.shown(), json!({ "many": true }));
        }
    }
}
