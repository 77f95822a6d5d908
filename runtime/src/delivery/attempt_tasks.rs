//! The tasks that make the attempts.
//!
//! A task that has finished an attempt is kept and makes the next one. An attempt's own state takes some kilobytes. To
//! allocate and free it for every attempt, often on different threads, costs more than the attempt's decisions.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::deliver::Deliverer;
use super::event::Slot;
use super::work::Work;
use postback_store::shutdown::Shutdown;

/// The most tasks that wait for their next attempt. Further tasks end after their attempt.
const MAX_IDLE: usize = 256;

/// Starts attempts, each on a waiting task or on a new one.
pub(super) struct AttemptTasks {
    deliverer: Arc<Deliverer>,
    shutdown: Shutdown,
    idle: Idle,
}

type Idle = Arc<Mutex<Vec<Arc<IdleTask>>>>;

/// How a waiting task gets its next attempt.
#[derive(Default)]
struct IdleTask {
    /// The next attempt. `None` if the task is to end.
    next: Mutex<Option<(Work, Slot)>>,
    woken: Notify,
}

impl AttemptTasks {
    pub(super) fn new(deliverer: Arc<Deliverer>, shutdown: Shutdown) -> Self {
        Self { deliverer, shutdown, idle: Idle::default() }
    }

    /// Starts an attempt.
    pub(super) fn start(&self, work: Work, slot: Slot) {
        let idle = lock(&self.idle).pop();
        if let Some(task) = idle {
            *lock(&task.next) = Some((work, slot));
            task.woken.notify_one();
        } else {
            let (deliverer, idle, shutdown) = (self.deliverer.clone(), self.idle.clone(), self.shutdown.clone());
            self.shutdown.spawn(run(deliverer, idle, shutdown, work, slot));
        }
    }

    /// Ends the waiting tasks. A task with an attempt in flight ends after that attempt.
    pub(super) fn end_idle_tasks(&self) {
        for task in std::mem::take(&mut *lock(&self.idle)) {
            task.woken.notify_one();
        }
    }
}

impl Drop for AttemptTasks {
    fn drop(&mut self) {
        self.end_idle_tasks();
    }
}

async fn run(deliverer: Arc<Deliverer>, idle: Idle, shutdown: Shutdown, work: Work, slot: Slot) {
    let task = Arc::<IdleTask>::default();
    let mut next = Some((work, slot));
    while let Some((work, slot)) = next {
        deliverer.deliver(work, slot, &shutdown).await;
        {
            let mut idle = lock(&idle);
            if idle.len() >= MAX_IDLE || shutdown.is_stopping() {
                return;
            }
            idle.push(task.clone());
        }
        task.woken.notified().await;
        next = lock(&task.next).take();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
