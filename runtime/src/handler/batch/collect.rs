//! Collects the runs of a route to batches, and runs these.

use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::oneshot;
use tracing::Instrument as _;

use super::{RunBatch, failed};
use crate::handler::{Ended, Run};

/// A run that waits for the outcome that its batch brings.
struct Waiting {
    run: Run,
    /// Its receiver is dropped if the run was cancelled, or its time was over.
    outcome: oneshot::Sender<Ended>,
}

/// The runs of a route that wait for their batch to be full.
pub(super) struct Collector {
    run: RunBatch,
    size: usize,
    wait: Duration,
    collected: Mutex<Collected>,
}

#[derive(Default)]
struct Collected {
    waiting: Vec<Waiting>,
    /// Grows with each batch that begins. So the timer of a batch that was full before its time does nothing.
    batch: u64,
}

impl Collector {
    pub(super) fn new(run: RunBatch, size: usize, wait: Duration) -> Arc<Self> {
        Arc::new(Self { run, size, wait, collected: Mutex::default() })
    }

    /// Adds the run to the next batch, and waits for its outcome.
    pub(super) async fn run(self: Arc<Self>, run: Run) -> Ended {
        let (outcome, ended) = oneshot::channel();
        self.collect(Waiting { run, outcome });
        // The sender is dropped only if the task of the batch was dropped, which happens when the process ends.
        ended.await.unwrap_or_else(|_| failed("the batch was given up".to_owned()))
    }

    fn collect(self: &Arc<Self>, waiting: Waiting) {
        let mut collected = self.collected.lock().unwrap_or_else(PoisonError::into_inner);
        // The places of runs that were stopped meanwhile are free.
        collected.waiting.retain(|waiting| !waiting.outcome.is_closed());
        collected.waiting.push(waiting);
        let (n, batch) = (collected.waiting.len(), collected.batch);
        if n >= self.size {
            self.begin(&mut collected);
        } else if n == 1 {
            let (this, wait) = (Arc::clone(self), self.wait);
            spawn(async move {
                tokio::time::sleep(wait).await;
                let mut collected = this.collected.lock().unwrap_or_else(PoisonError::into_inner);
                if collected.batch == batch {
                    this.begin(&mut collected);
                }
            });
        }
    }

    /// Runs what was collected, in a task of its own: it must not end with a single run of the batch.
    fn begin(self: &Arc<Self>, collected: &mut Collected) {
        collected.batch += 1;
        let waiting = mem::take(&mut collected.waiting);
        let (runs, outcomes): (Vec<Run>, Vec<_>) = waiting
            .into_iter()
            .filter(|waiting| !waiting.outcome.is_closed())
            .map(|Waiting { run, outcome }| (run, outcome))
            .unzip();
        if runs.is_empty() {
            return;
        }
        let this = Arc::clone(self);
        let batch = async move {
            let mut outcomes = outcomes;
            let running = (this.run)(runs);
            tokio::select! {
                biased;
                ended = running => {
                    for (outcome, ended) in outcomes.into_iter().zip(ended) {
                        // The receiver is gone if the run was stopped meanwhile.
                        let _ = outcome.send(ended);
                    }
                }
                // Nobody waits for the batch any more.
                _ = join_all(outcomes.iter_mut().map(oneshot::Sender::closed)) => {}
            }
        };
        spawn(batch.instrument(tracing::debug_span!("batch")));
    }
}

/// Spawns a task on the runtime of the handlers, on which the runs are.
fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    #[expect(clippy::disallowed_methods, reason = "the task ends when no run of its batch waits any more")]
    drop(tokio::spawn(task));
}
