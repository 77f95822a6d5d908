//! The tasks that make the attempts.
//!
//! When a task has finished an attempt, it waits for another attempt and makes it. The state of an attempt uses some
//! kilobytes. If this memory were allocated and freed for every attempt, often on different threads, that would cost
//! more processor time than all decisions about the attempt.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::deliver::Deliverer;
use super::event::Slot;
use super::work::Work;
use postback_store::shutdown::Shutdown;

/// The largest number of idle tasks. An idle task waits for another attempt. If there are already this many idle tasks,
/// a task ends after its attempt.
const MAX_IDLE: usize = 256;

/// Starts attempts. An attempt runs on an idle task, or on a new task.
pub(super) struct AttemptTasks {
    deliverer: Arc<Deliverer>,
    shutdown: Shutdown,
    idle: Idle,
}

type Idle = Arc<Mutex<Vec<Arc<IdleTask>>>>;

/// The state that `AttemptTasks` shares with an idle task: the task's next attempt, and a signal that wakes the task.
#[derive(Default)]
struct IdleTask {
    /// The next attempt of the task. If it is `None` when the task is woken, the task ends.
    next: Mutex<Option<(Work, Slot)>>,
    woken: Notify,
}

impl AttemptTasks {
    pub(super) fn new(deliverer: Arc<Deliverer>, shutdown: Shutdown) -> Self {
        Self { deliverer, shutdown, idle: Idle::default() }
    }

    /// Starts an attempt on an idle task, or on a new task.
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

    /// Ends the idle tasks. A task with an attempt in flight ends after this attempt.
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
