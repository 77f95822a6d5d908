//! Notes which requests and posts were sent, and which webhooks arrived.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use postback_tests::eventually;
use tokio::sync::oneshot;

/// The entries by id. An arrival may be noted before its request, because the webhook can arrive before the answer that
/// has the id.
#[derive(Default)]
pub(crate) struct Ledger(Mutex<HashMap<Box<str>, Entry>>);

#[derive(Default)]
struct Entry {
    is_sent: bool,
    arrivals: u32,
    first: Option<Instant>,
    waiter: Option<oneshot::Sender<Instant>>,
}

impl Ledger {
    pub(crate) fn sent(&self, id: &str) {
        self.0.lock().unwrap().entry(id.into()).or_default().is_sent = true;
    }

    /// Waits for the webhook with this id. Returns when it arrived, or `None` if it did not arrive within the limit.
    pub(crate) async fn arrival(&self, id: &str, limit: Duration) -> Option<Instant> {
        let waiting = {
            let mut entries = self.0.lock().unwrap();
            let entry = entries.entry(id.into()).or_default();
            entry.is_sent = true;
            if entry.first.is_some() {
                return entry.first;
            }
            let (waiter, waiting) = oneshot::channel();
            entry.waiter = Some(waiter);
            waiting
        };
        tokio::time::timeout(limit, waiting).await.ok()?.ok()
    }

    pub(crate) fn arrived(&self, id: &str) {
        let now = Instant::now();
        let mut entries = self.0.lock().unwrap();
        let entry = entries.entry(id.into()).or_default();
        entry.arrivals += 1;
        entry.first.get_or_insert(now);
        if let Some(waiter) = entry.waiter.take() {
            // The task that waited may have reached its limit.
            let _ = waiter.send(now);
        }
    }

    /// Waits for missing arrivals, at most as long as `eventually` waits. Returns the counts.
    pub(crate) fn settle(self: &Arc<Self>) -> Count {
        let waited = std::panic::catch_unwind({
            let ledger = Arc::clone(self);
            move || {
                eventually("all arrivals", || {
                    let count = ledger.count();
                    if count.lost == 0 { Ok(count) } else { Err(count) }
                })
            }
        });
        waited.unwrap_or_else(|_| self.count())
    }

    fn count(&self) -> Count {
        let entries = self.0.lock().unwrap();
        let mut count = Count::default();
        for entry in entries.values() {
            count.sent += u64::from(entry.is_sent);
            count.lost += u64::from(entry.is_sent && entry.arrivals == 0);
            count.repeated += u64::from(entry.arrivals.saturating_sub(1));
            count.unasked += u64::from(!entry.is_sent);
        }
        count
    }
}

#[derive(Debug, Default)]
pub(crate) struct Count {
    sent: u64,
    lost: u64,
    repeated: u64,
    /// Arrivals with an id that no answer had. The POST of such a request ended with an error.
    unasked: u64,
}

impl Count {
    pub(crate) fn is_complete(&self) -> bool {
        self.sent > 0 && self.lost == 0 && self.unasked == 0
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, lost, repeated, unasked } = self;
        write!(f, "{sent} sent, {lost} lost, {repeated} repeated, {unasked} without a successful POST")
    }
}
