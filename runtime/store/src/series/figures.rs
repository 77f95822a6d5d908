//! The figures of one stretch of time: counts, latencies, and what waited. Figures of several stretches, and of several
//! nodes, can be added up.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The upper bounds of the buckets in which latencies are counted, in µs. The last bucket has no bound. A bound must never
/// be changed, because stored figures were counted with it.
const BOUNDS: [u64; 20] = [
    1_000,
    2_000,
    5_000,
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
    1_800_000_000,
    7_200_000_000,
    43_200_000_000,
    259_200_000_000,
];

/// What happened in one stretch of time. The names are also those in the store, where a figure that is 0 is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Figures {
    /// Requests that were accepted.
    #[serde(skip_serializing_if = "is_zero")]
    pub accepted: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub completed: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub failed: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub cancelled: u64,
    /// Reports that a receiver accepted.
    #[serde(skip_serializing_if = "is_zero")]
    pub delivered: u64,
    /// Attempts that did not deliver their report.
    #[serde(skip_serializing_if = "is_zero")]
    pub failed_attempts: u64,
    /// Deliveries whose schedule is over.
    #[serde(skip_serializing_if = "is_zero")]
    pub dead: u64,
    /// How long runs took.
    #[serde(skip_serializing_if = "Latency::is_empty")]
    pub runs: Latency,
    /// The time between the creation of a report and its delivery.
    #[serde(skip_serializing_if = "Latency::is_empty")]
    pub deliveries: Latency,
    /// What waited at the end of a minute. In a longer stretch, and of several nodes: the largest.
    #[serde(skip_serializing_if = "Waiting::is_unknown")]
    pub waiting: Waiting,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Figures {
    /// Adds the figures of another stretch, or of another node.
    pub(crate) fn add(&mut self, other: &Self) {
        for (sum, more) in [
            (&mut self.accepted, other.accepted),
            (&mut self.completed, other.completed),
            (&mut self.failed, other.failed),
            (&mut self.cancelled, other.cancelled),
            (&mut self.delivered, other.delivered),
            (&mut self.failed_attempts, other.failed_attempts),
            (&mut self.dead, other.dead),
        ] {
            *sum = sum.saturating_add(more);
        }
        self.runs.add(&other.runs);
        self.deliveries.add(&other.deliveries);
        let (mine, theirs) = (&mut self.waiting, other.waiting);
        // `None` is smaller than every number.
        mine.queued = mine.queued.max(theirs.queued);
        mine.running = mine.running.max(theirs.running);
        mine.undelivered = mine.undelivered.max(theirs.undelivered);
        mine.oldest_request_ms = mine.oldest_request_ms.max(theirs.oldest_request_ms);
        mine.oldest_delivery_ms = mine.oldest_delivery_ms.max(theirs.oldest_delivery_ms);
    }

    /// Converts the figures to the text that the backends store.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn to_text(&self) -> String {
        // Numbers and fixed names can always be written as JSON.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads a text that [`to_text`](Self::to_text) has made. A figure that this version does not know is ignored. Another
    /// text counts as no figures, because a chart is no reason to fail.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn from_text(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }
}

/// What waits at one moment. `None`: it is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Waiting {
    /// Requests that wait to be run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queued: Option<u64>,
    /// Requests that run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running: Option<u64>,
    /// Reports that wait or are being delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undelivered: Option<u64>,
    /// For how long the request has been due that has waited longest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_request_ms: Option<u64>,
    /// For how long the delivery has been due that has waited longest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_delivery_ms: Option<u64>,
}

impl Waiting {
    fn is_unknown(&self) -> bool {
        *self == Self::default()
    }
}

/// How long many things took, counted in a few buckets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// The sum, in µs.
    #[serde(rename = "us")]
    sum: u64,
    #[serde(rename = "n", serialize_with = "trimmed", deserialize_with = "padded")]
    counts: [u64; BOUNDS.len() + 1],
}

/// Leaves out the empty buckets at the end.
fn trimmed<S: Serializer>(counts: &[u64; BOUNDS.len() + 1], serializer: S) -> Result<S::Ok, S::Error> {
    let used = counts.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1);
    counts[..used].serialize(serializer)
}

fn padded<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u64; BOUNDS.len() + 1], D::Error> {
    let mut counts = [0; BOUNDS.len() + 1];
    for (count, stored) in counts.iter_mut().zip(Vec::<u64>::deserialize(deserializer)?) {
        *count = stored;
    }
    Ok(counts)
}

impl Latency {
    pub(crate) fn record(&mut self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.sum = self.sum.saturating_add(micros);
        let bucket = BOUNDS.partition_point(|bound| *bound < micros);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
    }

    fn is_empty(&self) -> bool {
        self.count() == 0
    }

    fn add(&mut self, other: &Self) {
        self.sum = self.sum.saturating_add(other.sum);
        for (sum, more) in self.counts.iter_mut().zip(other.counts) {
            *sum = sum.saturating_add(more);
        }
    }

    /// Returns how many were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Returns the mean. `None`: nothing was counted.
    pub fn mean(&self) -> Option<Duration> {
        self.sum.checked_div(self.count()).map(Duration::from_micros)
    }

    /// Estimates the time within which this share of all, from 0 to 1, was done. The estimate is in the right bucket, and
    /// assumes that the times in a bucket are spread evenly. `None`: nothing was counted.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is an estimate between two bounds, which are exact"
    )]
    pub fn within(&self, share: f64) -> Option<Duration> {
        let wanted = self.count() as f64 * share.clamp(0.0, 1.0);
        let (mut before, mut low) = (0.0, 0);
        let last = self.counts.iter().rposition(|count| *count > 0)?;
        for (bucket, count) in self.counts.iter().enumerate().take(last + 1) {
            let count = *count as f64;
            // What is above the last bound is told as this bound.
            let high = BOUNDS.get(bucket).copied().unwrap_or(low);
            if count > 0.0 && (before + count >= wanted || bucket == last) {
                let part = ((wanted - before) / count).clamp(0.0, 1.0);
                return Some(Duration::from_micros(low + ((high - low) as f64 * part) as u64));
            }
            before += count;
            low = high;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latency(millis: &[u64]) -> Latency {
        let mut latency = Latency::default();
        for millis in millis {
            latency.record(Duration::from_millis(*millis));
        }
        latency
    }

    #[test]
    fn bounds_rise() {
        assert!(BOUNDS.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn an_estimate_is_in_the_right_bucket() {
        let mut many: Vec<u64> = vec![8; 98];
        many.extend([700, 40_000]);
        let latency = latency(&many);
        let within = |share| latency.within(share).unwrap().as_millis();
        assert!((5..=10).contains(&within(0.5)), "{}", within(0.5));
        assert!((500..=1_000).contains(&within(0.99)), "{}", within(0.99));
        assert!((30_000..=60_000).contains(&within(1.0)), "{}", within(1.0));
        assert_eq!(latency.mean().unwrap().as_millis(), (98 * 8 + 40_700) / 100);
    }

    #[test]
    fn nothing_has_no_latency_and_a_very_long_time_is_told_as_the_last_bound() {
        assert_eq!((Latency::default().within(0.5), Latency::default().mean()), (None, None));
        let latency = latency(&[u64::MAX / 2_000_000, 400_000_000]);
        assert_eq!(latency.within(0.99), Some(Duration::from_micros(BOUNDS[BOUNDS.len() - 1])));
    }

    #[test]
    fn figures_add_up_and_what_waits_is_the_largest() {
        let mut one = Figures { accepted: 2, runs: latency(&[1]), ..Figures::default() };
        let waiting = Waiting { queued: Some(3), running: Some(0), ..Waiting::default() };
        let other = Figures { accepted: 3, dead: 1, runs: latency(&[1, 2_000]), waiting, ..Figures::default() };
        one.add(&other);
        assert_eq!((one.accepted, one.dead, one.runs.count(), one.waiting), (5, 1, 3, waiting));
        let less = Waiting { queued: Some(1), undelivered: Some(9), ..Waiting::default() };
        one.add(&Figures { waiting: less, ..Figures::default() });
        assert_eq!(one.waiting, Waiting { undelivered: Some(9), ..waiting });
    }

    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    #[test]
    fn figures_are_read_back_and_a_text_of_another_version_is_no_error() {
        let waiting = Waiting { queued: Some(0), oldest_request_ms: Some(12), ..Waiting::default() };
        let figures = Figures { failed: 7, deliveries: latency(&[3, 90, 400_000]), waiting, ..Figures::default() };
        assert_eq!(Figures::from_text(&figures.to_text()), figures);
        assert_eq!(Figures::default().to_text(), "{}");
        let newer = r#"{"accepted":4,"moons":2,"runs":{"us":5,"n":[1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,9]}}"#;
        let read = Figures::from_text(newer);
        assert_eq!((read.accepted, read.runs.count()), (4, 1));
        assert_eq!(Figures::from_text("no figures"), Figures::default());
    }
}
