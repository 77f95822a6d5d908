//! The events of a request, and their form on the wire. The events are made from the stored request, and not when
//! something happens: so a client that comes back gets each event again, with the same id, as long as the request is
//! stored.

use std::fmt::Write as _;

use crate::api::progress;
use crate::api::response::{IN_PROGRESS, IN_QUEUE};
use postback_store::{Progress, Stage, Timeline};
use postback_wire::id::RequestId;
use postback_wire::time::Timestamp;

/// The name of the events that tell a change of status. A later version may tell other events under other names.
const STATUS: &str = "status";
/// The name of the events that tell how far a run has come.
const PROGRESS: &str = "progress";

/// The place of an event among the events of its request: the epoch of the run that it belongs to, the step within this
/// run, and the number of a progress. Later events have greater keys. The text of the key is the id of the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    epoch: u32,
    step: Step,
    /// The sequence number of a progress, which comes after the beginning of its run. 0: a change of status.
    sequence: u64,
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
        let (step, sequence) = match step.split_once('.') {
            Some((step, sequence)) => (step, Some(sequence)),
            None => (step, None),
        };
        let steps = [Step::Created, Step::Begun, Step::WaitsAgain, Step::Ended];
        let step = steps.into_iter().find(|known| (*known as u8).to_string() == step)?;
        let sequence = match sequence {
            Some(sequence) => sequence.parse().ok().filter(|n| *n > 0 && step == Step::Begun)?,
            None => 0,
        };
        Some(Self { epoch: epoch.parse().ok()?, step, sequence })
    }

    /// Whether a client may have been told an event with this key. Only the last progress is stored, so a client may
    /// know one that is not there any more.
    pub(super) fn was_told(self, events: &[Event<'_>]) -> bool {
        let is_there = |key| events.iter().any(|event| event.key == key);
        if self.sequence == 0 {
            return is_there(self);
        }
        let last = events.iter().map(|event| event.key.sequence).max();
        is_there(Self { sequence: 0, ..self }) && last.is_some_and(|last| self.sequence <= last)
    }

    pub(super) fn is_end(self) -> bool {
        self.step == Step::Ended
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.epoch, self.step as u8)?;
        if self.sequence > 0 { write!(f, ".{}", self.sequence) } else { Ok(()) }
    }
}

/// Something that has happened to a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Event<'a> {
    pub(super) key: Key,
    what: What<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum What<'a> {
    /// The request has had this status since this time.
    Status(&'static str, Timestamp),
    Progress(&'a Progress),
}

/// Returns all events of a request so far, the oldest first.
pub(super) fn events(timeline: &Timeline) -> Vec<Event<'_>> {
    let event =
        |epoch, step, status, at| Event { key: Key { epoch, step, sequence: 0 }, what: What::Status(status, at) };
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
    if let Some(progress) = &timeline.progress {
        let key = Key { epoch: progress.epoch, step: Step::Begun, sequence: progress.sequence };
        let place = events.partition_point(|event| event.key < key);
        events.insert(place, Event { key, what: What::Progress(progress) });
    }
    events
}

impl Event<'_> {
    /// Writes the event as a frame. The end of a request has a frame of its own, with the outcome.
    pub(super) fn write(&self, id: &RequestId, frames: &mut String) {
        // The results of `write!` are ignored, because writing to a `String` cannot fail. The characters of an id need no
        // escape in JSON.
        match self.what {
            What::Status(status, at) => {
                frames.push_str(&begin(self.key));
                let _ = write!(frames, "{{\"id\":\"{id}\",\"status\":\"{status}\",\"timestamp\":\"{at}\"}}{END}");
            }
            What::Progress(told) => {
                frames.push_str(&begin_named(self.key, PROGRESS));
                let _ = write!(frames, "{{\"id\":\"{id}\"{}}}{END}", progress::member(Some(told)));
            }
        }
    }
}

/// The end of a frame.
pub(super) const END: &str = "\n\n";
/// A frame without an event. It shows that the connection still works.
pub(super) const COMMENT: &str = ":\n\n";

/// Returns the first part of a frame with this id, for a change of status. The JSON of the event follows, and then [`END`].
pub(super) fn begin(key: Key) -> String {
    begin_named(key, STATUS)
}

fn begin_named(key: Key, name: &str) -> String {
    format!("id: {key}\nevent: {name}\ndata: ")
}

/// Returns a frame that tells the client how many milliseconds it should wait before it connects again.
pub(super) fn retry(milliseconds: u32) -> String {
    format!("retry: {milliseconds}{END}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use postback_store::{EarlierRun, EndSummary, Owner, RunEnd, Summary, Told};
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
        Timeline {
            created: at(1),
            runs: (1..=runs).map(run).collect(),
            epoch,
            started: started.map(at),
            progress: None,
            summary,
        }
    }

    fn ended(status: Status) -> Stage {
        Stage::Settled(EndSummary {
            status,
            reason: None,
            finished: at(99),
            result: None,
            is_elsewhere: false,
            error: None,
        })
    }

    fn printed(timeline: &Timeline) -> Vec<String> {
        let events = events(timeline);
        assert!(events.is_sorted_by(|a, b| a.key < b.key), "{events:?}");
        let shown = |event: &Event<'_>| match event.what {
            What::Status(status, at) => format!("{} {status} {}", event.key, at.micros()),
            What::Progress(progress) => format!("{} progress {}", event.key, progress.told.at.micros()),
        };
        events.iter().map(shown).collect()
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
        let (early, late) = (timeline(1, 2, Some(20), Stage::Running), timeline(1, 2, Some(20), ended(Status::Failed)));
        let (early, late) = (events(&early), events(&late));
        assert_eq!(late[..early.len()], early);
    }

    fn with_progress(timeline: Timeline, epoch: u32, sequence: u64) -> Timeline {
        let told = Told { fraction: Some(0.5), message: Some("half".to_owned()), detail: None, at: at(12) };
        Timeline { progress: Some(Progress { epoch, sequence, told }), ..timeline }
    }

    #[test]
    fn a_progress_comes_after_the_beginning_of_its_run() {
        let running = with_progress(timeline(1, 2, Some(20), Stage::Running), 2, 7);
        let before = ["0.0 in_queue 1", "1.1 in_progress 10", "1.2 in_queue 15", "2.1 in_progress 20"];
        assert_eq!(printed(&running), [&before[..], &["2.1.7 progress 12"]].concat());
        let over = with_progress(timeline(1, 2, Some(20), ended(Status::Completed)), 2, 7);
        assert_eq!(printed(&over), [&before[..], &["2.1.7 progress 12", "2.3 completed 99"]].concat());
        // What an earlier run has told last comes within this run.
        let earlier = with_progress(timeline(1, 2, Some(20), Stage::Running), 1, 3);
        let expected =
            ["0.0 in_queue 1", "1.1 in_progress 10", "1.1.3 progress 12", "1.2 in_queue 15", "2.1 in_progress 20"];
        assert_eq!(printed(&earlier), expected);
    }

    #[test]
    fn a_client_that_knows_an_earlier_progress_continues_there() {
        let timeline = with_progress(timeline(1, 2, Some(20), Stage::Running), 2, 7);
        let events = events(&timeline);
        let was_told = |text: &str| Key::parse(text).is_some_and(|key| key.was_told(&events));
        for told in ["0.0", "1.1", "1.1.2", "1.2", "2.1", "2.1.5", "2.1.7"] {
            assert!(was_told(told), "{told}");
        }
        // These are of a run that has not begun, or later than all that was told. A restored backup may lead to that.
        for never in ["2.3", "3.1", "3.1.7", "2.1.8", "0.1.1"] {
            assert!(!was_told(never), "{never}");
        }
        let after = |text: &str| events.iter().filter(|event| Some(event.key) > Key::parse(text)).count();
        assert_eq!((after("2.1.5"), after("2.1.7"), after("2.1"), after("1.1.2")), (1, 0, 1, 3));
    }

    #[test]
    fn an_id_is_read_back() {
        let timeline = with_progress(timeline(2, 3, Some(30), ended(Status::Failed)), 3, 12);
        for event in events(&timeline) {
            assert_eq!(Key::parse(&event.key.to_string()), Some(event.key));
        }
        let wrong = ["", "1", "1.", ".1", "1.4", "1.01", "a.1", "-1.1", "99999999999.1"];
        let wrong_progress =
            ["1.1.", "1.1.0", "1.1.x", "1.1.1.1", "1.0.1", "1.2.1", "1.3.1", "1.1.99999999999999999999"];
        for text in wrong.into_iter().chain(wrong_progress) {
            assert_eq!(Key::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_frame_has_an_id_a_name_and_one_line_of_data() {
        let mut frames = String::new();
        let queued = timeline(0, 0, None, Stage::Queued);
        events(&queued)[0].write(&RequestId::stored("r"), &mut frames);
        let data = r#"{"id":"r","status":"in_queue","timestamp":"1970-01-01T00:00:00.000001Z"}"#;
        assert_eq!(frames, format!("id: 0.0\nevent: status\ndata: {data}\n\n"));
        let running = with_progress(timeline(0, 1, Some(3), Stage::Running), 1, 7);
        frames.clear();
        events(&running)[2].write(&RequestId::stored("r"), &mut frames);
        let object = progress::object(running.progress.as_ref().unwrap());
        assert_eq!(frames, format!("id: 1.1.7\nevent: progress\ndata: {{\"id\":\"r\",\"progress\":{object}}}\n\n"));
    }
}
