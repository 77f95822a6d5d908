//! What the delivery's tasks send to its loop: that an attempt, a parking, a claim or a look-up of parked reports has
//! ended.

use std::time::Duration;

use tokio::sync::mpsc;

use super::scheduler::{Schedulable as _, StartedAttempt};
use super::work::Work;
use crate::policy::breaker::Health;
use crate::policy::turns::Key;

/// The end of a task of the delivery.
pub(super) enum Event {
    /// An attempt has ended, and its slot is free.
    Ended {
        attempt: StartedAttempt,
        health: Health,
        /// The URL that failed, without its query. `None` if the URL did not fail.
        failed_url: Option<Box<str>>,
        took: Duration,
    },
    /// These reports were parked. `true` if the parking is committed, `false` if it was given up.
    Parked(Vec<(Key, bool)>),
    /// A claim of parked reports has ended.
    Claimed {
        key: Key,
        limit: usize,
        /// The claimed reports, and whether more are parked. `None` if the claim failed.
        claimed: Option<(Vec<Work>, bool)>,
    },
    /// These origins and URLs have parked reports.
    FoundParked(Vec<String>),
}

/// The right to make one attempt. When the slot is dropped, the loop learns that the attempt has ended, and what it
/// says about the origin.
pub(super) struct Slot {
    attempt: StartedAttempt,
    health: Health,
    /// The URL that failed, without its query.
    failed_url: Option<Box<str>>,
    took: Duration,
    events: mpsc::Sender<Event>,
}

impl Slot {
    pub(super) fn new(attempt: StartedAttempt, events: mpsc::Sender<Event>) -> Self {
        Self { attempt, health: Health::Unknown, failed_url: None, took: Duration::ZERO, events }
    }

    /// Records what an attempt says about the receiver's health.
    pub(super) fn record(&mut self, health: Health, work: &Work, took: Duration) {
        (self.health, self.took) = (health, took);
        self.failed_url = (health == Health::Fails).then(|| work.url().into());
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Self { attempt, health, took, .. } = *self;
        let event = Event::Ended { attempt, health, failed_url: self.failed_url.take(), took };
        // The channel has room for one event of each slot, so sending fails only if the loop has ended.
        let _ = self.events.try_send(event);
    }
}
