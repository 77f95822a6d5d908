//! When a report is tried again.

use std::time::Duration;

use rand::{Rng, RngExt as _};

const MAX_STEPS: usize = 100;
const MAX_STEP: Duration = Duration::from_hours(7 * 24);
/// The most that a step is lengthened by, as a part of itself. Reports that failed together, because their receiver was
/// down, come back spread out.
const JITTER: f64 = 0.2;

/// One delay before each attempt, the first one's included; after the last one the report is given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Schedule(Vec<Duration>);

impl Schedule {
    /// A schedule of 1 to 100 steps of at most 7 days each. The first is nothing: a report is tried as soon as it is there.
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

    /// How many attempts a report gets.
    pub(crate) fn attempts(&self) -> u32 {
        // Invariant: at most 100 steps.
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    /// How long to wait when this many attempts were made and failed; `None` when it is over. At least the step, at most
    /// a fifth more, and exactly nothing for a step of nothing.
    pub(crate) fn after(&self, attempts_made: u32, rng: &mut impl Rng) -> Option<Duration> {
        let step = *self.0.get(usize::try_from(attempts_made).ok()?)?;
        Some(step + step.mul_f64(rng.random_range(0.0..=JITTER)))
    }
}

/// The example of the Standard Webhooks specification 1.0.0: the last attempt after three days.
impl Default for Schedule {
    fn default() -> Self {
        const MINUTE: u64 = 60;
        const HOUR: u64 = 60 * MINUTE;
        let seconds = [0, 5, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR];
        Self(seconds.map(Duration::from_secs).to_vec())
    }
}

/// Steps that are no [`Schedule`].
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub(crate) enum ScheduleError {
    #[error("a schedule has 1 to {MAX_STEPS} steps, this one has {steps}")]
    Steps { steps: usize },
    #[error("step 1 of the schedule is {seconds} s, but the first attempt is made at once; begin with 0s")]
    First { seconds: f64 },
    #[error("step {number} of the schedule is {seconds} s, more than the 7 days that a step may last")]
    TooLong { number: usize, seconds: u64 },
}

#[cfg(test)]
mod tests {
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
            assert_eq!(schedule.after(0, &mut rng), Some(Duration::ZERO));
            assert!(schedule.after(1, &mut rng).unwrap() >= Duration::from_nanos(7));
            let long = schedule.after(2, &mut rng).unwrap();
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
        assert!(schedule.after(9, &mut rng).is_some());
        assert_eq!(schedule.after(10, &mut rng), None);
        assert_eq!(schedule.after(u32::MAX, &mut rng), None);
    }
}
