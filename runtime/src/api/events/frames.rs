//! The events of a request, and their form on the wire. The events are made from the stored request, and not when
//! something happens: so a client that comes back gets each event again, with the same id, as long as the request is
//! stored.

use std::fmt::Write as _;

use crate::api::response::{IN_PROGRESS, IN_QUEUE};
use postback_store::{Stage, Timeline};
use postback_wire::id::RequestId;
use postback_wire::time::Timestamp;

/// The name of the events that tell a change of status. A later version may tell other events under other names.
const STATUS: &str = "status";

/// The place of an event among the events of its request: the epoch of the run that it belongs to, and the step within
/// this run. Later events have greater keys. The text of the key is the id of the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    epoch: u32,
    step: Step,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// The request was accepted.
    Created = 0,
    /// A run has begun.
    Begun = 1,
    /// A run has ended, and the request waits again.
    WaitsAgain = 2,
    /// The request has ended.
    Ended = 3,
}

impl Key {
    /// Reads the id of an event. Returns `None` if the text is no such id.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (epoch, step) = text.split_once('.')?;
        let steps = [Step::Created, Step::Begun, Step::WaitsAgain, Step::Ended];
        let step = steps.into_iter().find(|known| (*known as u8).to_string() == step)?;
        Some(Self { epoch: epoch.parse().ok()?, step })
    }

    pub(super) fn is_end(self) -> bool {
        self.step == Step::Ended
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.epoch, self.step as u8)
    }
}

/// A change of the status of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) key: Key,
    status: &'static str,
    at: Timestamp,
}

/// Returns all events of a request so far, the oldest first.
pub(super) fn events(timeline: &Timeline) -> Vec<Event> {
    let event = |epoch, step, status, at| Event { key: Key { epoch, step }, status, at };
    let mut events = vec![event(0, Step::Created, IN_QUEUE, timeline.created)];
    for run in &timeline.runs {
        events.push(event(run.epoch, Step::Begun, IN_PROGRESS, run.started));
        events.push(event(run.epoch, Step::WaitsAgain, IN_QUEUE, run.ended));
    }
    let epoch = timeline.epoch;
    // A request that was cancelled while it waited keeps the time of its last run, which is among the earlier runs.
    let is_earlier = timeline.runs.last().is_some_and(|run| run.epoch >= epoch);
    if let Some(started) = timeline.started.filter(|_| !is_earlier) {
        events.push(event(epoch, Step::Begun, IN_PROGRESS, started));
    }
    if let Stage::Settled(end) = &timeline.summary.stage {
        events.push(event(epoch, Step::Ended, end.status.as_str(), end.finished));
    }
    events
}

impl Event {
    /// Writes the event as a frame. The end of a request has a frame of its own, with the outcome.
    pub(super) fn write(&self, id: &RequestId, frames: &mut String) {
        frames.push_str(&begin(self.key));
        // The result of `write!` is ignored, because writing to a `String` cannot fail. The characters of an id need no
        // escape in JSON.
        let Self { status, at, .. } = self;
        let _ = write!(frames, "{{\"id\":\"{id}\",\"status\":\"{status}\",\"timestamp\":\"{at}\"}}{END}");
    }
}

/// The end of a frame.
pub(super) const END: &str = "\n\n";
/// A frame without an event. It shows that the connection still works.
pub(super) const COMMENT: &str = ":\n\n";

/// Returns the first part of a frame with this id. The JSON of the event follows, and then [`END`].
pub(super) fn begin(key: Key) -> String {
    format!("id: {key}\nevent: {STATUS}\ndata: ")
}

/// Returns a frame that tells the client how many milliseconds it should wait before it connects again.
pub(super) fn retry(milliseconds: u32) -> String {
    format!("retry: {milliseconds}{END}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use postback_store::{EarlierRun, EndSummary, Owner, RunEnd, Summary};
    use postback_wire::report::Status;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    fn timeline(runs: u32, epoch: u32, started: Option<i64>, stage: Stage) -> Timeline {
        let run = |n: u32| EarlierRun {
            epoch: n,
            started: at(i64::from(n) * 10),
            ended: at(i64::from(n) * 10 + 5),
            end: RunEnd::Failed,
            detail: None,
        };
        let summary = Summary { route: "/a".to_owned(), owner: Owner::default(), extras: None, stage };
        Timeline { created: at(1), runs: (1..=runs).map(run).collect(), epoch, started: started.map(at), summary }
    }

    fn ended(status: Status) -> Stage {
        Stage::Settled(EndSummary { status, reason: None, finished: at(99), result: None, error: None })
    }

    fn printed(timeline: &Timeline) -> Vec<String> {
        let events = events(timeline);
        assert!(events.is_sorted_by(|a, b| a.key < b.key), "{events:?}");
        events.iter().map(|event| format!("{} {} {}", event.key, event.status, event.at.micros())).collect()
    }

    #[test]
    fn every_change_of_status_is_an_event() {
        let queued = timeline(0, 0, None, Stage::Queued);
        assert_eq!(printed(&queued), ["0.0 in_queue 1"]);
        let running = timeline(0, 1, Some(3), Stage::Running);
        assert_eq!(printed(&running), ["0.0 in_queue 1", "1.1 in_progress 3"]);
        let again = timeline(1, 1, None, Stage::Queued);
        assert_eq!(printed(&again), ["0.0 in_queue 1", "1.1 in_progress 10", "1.2 in_queue 15"]);
        let over = timeline(1, 2, Some(20), ended(Status::Completed));
        let expected =
            ["0.0 in_queue 1", "1.1 in_progress 10", "1.2 in_queue 15", "2.1 in_progress 20", "2.3 completed 99"];
        assert_eq!(printed(&over), expected);
    }

    #[test]
    fn what_is_cancelled_while_it_waits_does_not_run() {
        let never = timeline(0, 0, None, ended(Status::Cancelled));
        assert_eq!(printed(&never), ["0.0 in_queue 1", "0.3 cancelled 99"]);
        let after_a_run = timeline(1, 1, Some(10), ended(Status::Cancelled));
        let expected = ["0.0 in_queue 1", "1.1 in_progress 10", "1.2 in_queue 15", "1.3 cancelled 99"];
        assert_eq!(printed(&after_a_run), expected);
    }

    #[test]
    fn events_that_were_told_stay_the_same() {
        let early = events(&timeline(1, 2, Some(20), Stage::Running));
        let late = events(&timeline(1, 2, Some(20), ended(Status::Failed)));
        assert_eq!(late[..early.len()], early);
    }

    #[test]
    fn an_id_is_read_back() {
        for event in events(&timeline(2, 3, Some(30), ended(Status::Failed))) {
            assert_eq!(Key::parse(&event.key.to_string()), Some(event.key));
        }
        for text in ["", "1", "1.", ".1", "1.4", "1.01", "a.1", "-1.1", "1.1.1", "99999999999.1"] {
            assert_eq!(Key::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_frame_has_an_id_a_name_and_one_line_of_data() {
        let mut frames = String::new();
        events(&timeline(0, 0, None, Stage::Queued))[0].write(&RequestId::stored("r"), &mut frames);
        let data = r#"{"id":"r","status":"in_queue","timestamp":"1970-01-01T00:00:00.000001Z"}"#;
        assert_eq!(frames, format!("id: 0.0\nevent: status\ndata: {data}\n\n"));
    }
}
