//! The schedule of attempts. It says when a report is retried and when it is given up.

use std::time::Duration;

use rand::{Rng, RngExt as _};

const MAX_STEPS: usize = 100;
const MAX_STEP: Duration = Duration::from_hours(7 * 24);
/// The largest random time that is added to a delay of the schedule, as a fraction of the delay. With this random time,
/// reports that failed at the same time because their receiver was down are retried at different times.
const JITTER: f64 = 0.2;
/// The largest random time that is added to a wait that the receiver asked for, as a fraction of the wait. The wait is
/// never shortened, because the receiver would reject an attempt that arrives too early.
const ASKED_JITTER: f64 = 0.1;
/// The longest wait that a receiver may ask for. A delay of the schedule may be longer, because the operator chose it.
const MAX_ASKED: Duration = Duration::from_hours(24);

/// The delays before the attempts, one for each attempt. The first delay comes before the first attempt. When the last
/// attempt fails, the report is given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Schedule(Vec<Duration>);

impl Schedule {
    /// Returns the time from the first attempt to the last, without the random times that are added to the delays.
    pub(crate) fn total(&self) -> Duration {
        self.0.iter().fold(Duration::ZERO, |sum, step| sum.saturating_add(*step))
    }

    /// Makes a schedule of 1 to 100 delays of at most 7 days each. The first delay must be zero, because the first
    /// attempt is made without a wait.
    pub(crate) fn new(steps: Vec<Duration>) -> Result<Self, ScheduleError> {
        if steps.is_empty() || steps.len() > MAX_STEPS {
            return Err(ScheduleError::Steps { steps: steps.len() });
        }
        if !steps[0].is_zero() {
            return Err(ScheduleError::First { seconds: steps[0].as_secs_f64() });
        }
        if let Some(at) = steps.iter().position(|step| *step > MAX_STEP) {
            return Err(ScheduleError::TooLong { number: at + 1, seconds: steps[at].as_secs() });
        }
        Ok(Self(steps))
    }

    /// Returns the number of attempts that the schedule allows for a report.
    pub(crate) fn steps(&self) -> &[Duration] {
        &self.0
    }

    pub(crate) fn attempts(&self) -> u32 {
        // Invariant: a schedule has at most 100 delays.
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    /// Returns how long to wait after this many failed attempts. `None` if the schedule has no further attempt.
    ///
    /// The result is the longer of two waits. The first is the schedule's delay plus at most a fifth of this delay. The
    /// second is the wait that the receiver `asked` for plus at most a tenth of this wait, limited to one day. If the
    /// delay is zero and the receiver asked for no wait, the result is zero.
    pub(crate) fn after(&self, attempts_made: u32, asked: Option<Duration>, rng: &mut impl Rng) -> Option<Duration> {
        let step = *self.0.get(usize::try_from(attempts_made).ok()?)?;
        let asked = asked.unwrap_or_default().min(MAX_ASKED);
        Some(lengthened(step, JITTER, rng).max(lengthened(asked, ASKED_JITTER, rng).min(MAX_ASKED)))
    }
}

fn lengthened(wait: Duration, by_up_to: f64, rng: &mut impl Rng) -> Duration {
    wait + wait.mul_f64(rng.random_range(0.0..=by_up_to))
}

/// The default schedule is the example of the Standard Webhooks specification 1.0.0. Its last attempt is made about
/// three days after the first.
impl Default for Schedule {
    fn default() -> Self {
        const MINUTE: u64 = 60;
        const HOUR: u64 = 60 * MINUTE;
        let seconds = [0, 5, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR];
        Self(seconds.map(Duration::from_secs).to_vec())
    }
}

/// Why a list of delays is not a valid [`Schedule`].
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub(crate) enum ScheduleError {
    #[error("a schedule has 1 to {MAX_STEPS} steps, but this one has {steps}")]
    Steps { steps: usize },
    #[error("step 1 of the schedule is {seconds} s, but the first attempt is made at once; begin with 0s")]
    First { seconds: f64 },
    #[error("step {number} of the schedule is {seconds} s, more than the 7 days that a step may last")]
    TooLong { number: usize, seconds: u64 },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng as _;
    use rand::rngs::SmallRng;

    use super::*;

    fn secs(steps: &[u64]) -> Vec<Duration> {
        steps.iter().copied().map(Duration::from_secs).collect()
    }

    #[test]
    fn nonsense_is_refused_and_named() {
        let refused = |steps: &[u64]| Schedule::new(secs(steps)).unwrap_err().to_string();
        assert!(refused(&[]).contains("has 0"));
        assert!(refused(&[1; 101]).contains("has 101"));
        assert!(refused(&[0, 604_801]).contains("step 2 of the schedule is 604801 s"));
        assert!(refused(&[5, 10]).contains("step 1 of the schedule is 5 s"));
        let mut longest = [604_800; 100];
        longest[0] = 0;
        Schedule::new(secs(&longest)).unwrap();
    }

    #[test]
    fn jitter_lengthens_by_a_fifth_at_most_and_never_shortens() {
        let schedule = Schedule::new(vec![Duration::ZERO, Duration::from_nanos(7), MAX_STEP]).unwrap();
        let mut rng = SmallRng::seed_from_u64(1);
        let mut longest = Duration::ZERO;
        for _ in 0..10_000 {
            assert_eq!(schedule.after(0, None, &mut rng), Some(Duration::ZERO));
            assert!(schedule.after(1, None, &mut rng).unwrap() >= Duration::from_nanos(7));
            let long = schedule.after(2, None, &mut rng).unwrap();
            assert!(long >= MAX_STEP && long <= MAX_STEP + MAX_STEP / 5, "{long:?}");
            longest = longest.max(long);
        }
        assert!(longest > MAX_STEP + MAX_STEP / 6, "the jitter uses its width: {longest:?}");
    }

    #[test]
    fn it_ends_after_its_last_step() {
        let schedule = Schedule::default();
        let mut rng = SmallRng::seed_from_u64(1);
        assert_eq!(schedule.attempts(), 10);
        assert!(schedule.after(9, None, &mut rng).is_some());
        assert_eq!(schedule.after(10, None, &mut rng), None);
        assert_eq!(schedule.after(u32::MAX, None, &mut rng), None);
    }
    #[test]
    fn a_wait_that_was_asked_for_is_kept_and_is_a_day_at_most() {
        let schedule = Schedule::new(secs(&[0, 10, 172_800])).unwrap();
        let mut rng = SmallRng::seed_from_u64(1);
        let mut after =
            |made, asked| schedule.after(made, Some(Duration::from_secs(asked)), &mut rng).unwrap().as_secs_f64();
        for _ in 0..1_000 {
            assert!((10.0..=12.0).contains(&after(1, 3)), "the step is the longer one");
            assert!((100.0..=110.0).contains(&after(1, 100)), "the wait that was asked for is the longer one");
            assert!((after(1, u64::MAX) - 86_400.0).abs() < 1e-6, "a day at most");
            assert!((172_800.0..=207_360.0).contains(&after(2, u64::MAX)), "the schedule's own steps may be longer");
        }
        assert_eq!(schedule.after(3, Some(Duration::from_secs(1)), &mut rng), None, "Retry-After adds no attempt");
    }

    proptest! {
        #[test]
        fn no_wait_is_shorter_than_its_step_or_what_was_asked_nor_much_longer(
            steps in prop::collection::vec(0..=604_800_000_u64, 0..99),
            made in 0..120_u32,
            asked in prop::option::of(prop_oneof![0..200_000_000_u64, Just(u64::MAX)]),
            seed: u64,
        ) {
            let steps: Vec<_> = std::iter::once(0).chain(steps).map(Duration::from_millis).collect();
            let schedule = Schedule::new(steps.clone()).unwrap();
            let asked = asked.map(Duration::from_millis);
            let wait = schedule.after(made, asked, &mut SmallRng::seed_from_u64(seed));
            prop_assert_eq!(wait.is_some(), (made as usize) < steps.len());
            if let Some(wait) = wait {
                let step = steps[made as usize];
                let asked = asked.unwrap_or_default().min(MAX_ASKED);
                prop_assert!(wait >= step && wait >= asked, "{wait:?}");
                let rounding = Duration::from_micros(1);
                let most = step.mul_f64(1.2).max(asked.mul_f64(1.1).min(MAX_ASKED)) + rounding;
                prop_assert!(wait <= most, "{wait:?} > {most:?}");
            }
        }
    }
}
