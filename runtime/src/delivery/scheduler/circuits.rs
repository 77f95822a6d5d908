//! The open circuits, for operators.

use super::{Schedulable, Scheduler};
use crate::delivery::control::Circuit;
use crate::policy::turns::SinceStart;

impl<W: Schedulable> Scheduler<W> {
    /// Returns the open circuits, in the order of their names.
    pub(in crate::delivery) fn circuits(&self, now: SinceStart) -> Vec<Circuit> {
        let open = self.queues.values().filter(|queue| queue.breaker.is_probing());
        let mut circuits: Vec<_> = open
            .map(|queue| Circuit {
                name: queue.name.clone(),
                test_in: queue.breaker.probe_at().map(|at| at.saturating_sub(now)),
            })
            .collect();
        circuits.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        circuits
    }
}
