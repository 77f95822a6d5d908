//! What the delivery's tasks send to its loop. An event says that an attempt, a parking, a claim or a search for parked
//! reports has ended.

use std::time::Duration;

use tokio::sync::mpsc;

use super::scheduler::{Schedulable as _, StartedAttempt};
use super::work::Work;
use crate::policy::breaker::Health;
use crate::policy::turns::Key;

/// A message to the loop. It says that a task of the delivery has ended.
pub(super) enum Event {
    /// An attempt has ended, and its slot is free.
    Ended {
        attempt: StartedAttempt,
        health: Health,
        /// The URL of the attempt without its query, if the URL failed. `None` if the URL did not fail.
        failed_url: Option<Box<str>>,
        took: Duration,
    },
    /// The parking of these reports has ended. For each report, `true` means that the store has committed the parking,
    /// and `false` means that the parking was given up.
    Parked(Vec<(Key, bool)>),
    /// A claim of parked reports has ended.
    Claimed {
        key: Key,
        limit: usize,
        /// The claimed reports, and whether the store has more parked reports of this queue. `None` if the claim
        /// failed.
        claimed: Option<(Vec<Work>, bool)>,
    },
    /// The store was asked for parked reports. These origins and URLs have parked reports.
    FoundParked(Vec<String>),
}

/// The right to make one attempt. When a slot is dropped, its `Drop` code tells the loop that the attempt has ended,
/// and whether the receiver works.
pub(super) struct Slot {
    attempt: StartedAttempt,
    health: Health,
    /// The URL of the attempt without its query, if the URL failed. Otherwise `None`.
    failed_url: Option<Box<str>>,
    took: Duration,
    events: mpsc::Sender<Event>,
}

impl Slot {
    pub(super) fn new(attempt: StartedAttempt, events: mpsc::Sender<Event>) -> Self {
        Self { attempt, health: Health::Unknown, failed_url: None, took: Duration::ZERO, events }
    }

    /// Records whether the attempt shows that the receiver works.
    pub(super) fn record(&mut self, health: Health, work: &Work, took: Duration) {
        (self.health, self.took) = (health, took);
        self.failed_url = (health == Health::Fails).then(|| work.url().into());
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Self { attempt, health, took, .. } = *self;
        let event = Event::Ended { attempt, health, failed_url: self.failed_url.take(), took };
        // The channel has space for one event of each slot, so sending fails only if the loop has ended.
        let _ = self.events.try_send(event);
    }
}
